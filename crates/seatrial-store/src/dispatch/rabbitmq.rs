//! RabbitMQ as the carrier of tickets.
//!
//! One durable quorum queue for each priority, persistent messages, publisher confirms. Tickets are fetched
//! one by one, high to low, and acknowledged right after the claim: a ticket that is held for the length of
//! a job would run into the broker's `consumer_timeout`, which is as long as our longest job.
//!
//! # Liveness
//! Each call to the broker ends within [`RabbitOptions::patience`]; whatever fails ends the connection, and
//! the next call makes a new one, for ever. Only [`RabbitDispatch::take`](Dispatch::take) waits as long as no
//! ticket comes, and one task of a process asks at a time, however many slots wait.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    runtime::default_runtime,
    tcp::{RustlsConnector, RustlsConnectorConfig},
    types::{AMQPValue, FieldTable},
    uri::{AMQPScheme, AMQPUri},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use seatrial_core::{
    BoxError,
    dispatch::{Dispatch, DispatchError, Ticket},
    id::JobId,
    record::Priority,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::tls;

/// Pause between two looks at empty queues: at first, and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(40));
/// Pause after a failed try to connect: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Unless the address says another: both sides then notice within seconds that the other is gone.
const HEARTBEAT_S: u16 = 10;
/// Most tickets in a queue; the oldest make room. A ticket may be lost without harm, disk space may not.
const MOST: i64 = 1_000_000;

/// How to use a RabbitMQ.
#[derive(Clone, Debug)]
pub struct RabbitOptions {
    /// What the names of the queues begin with.
    pub prefix: String,
    /// Certificates to trust with `amqps://`, as a PEM file; the system's when there is none.
    pub tls_ca: Option<PathBuf>,
    /// How long to wait for an answer, and for a connection before it.
    pub patience: Duration,
}

impl Default for RabbitOptions {
    fn default() -> Self {
        Self {
            prefix: "seatrial".to_owned(),
            tls_ca: None,
            patience: Duration::from_secs(5),
        }
    }
}

/// Tickets in RabbitMQ.
pub struct RabbitDispatch {
    line: Line,
    /// Whose turn it is to ask for tickets.
    asking: Mutex<()>,
}

/// The connection, and what it takes to make another.
struct Line {
    uri: AMQPUri,
    connector: Option<Arc<RustlsConnector>>,
    prefix: String,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    failures: u32,
    /// No new try before.
    not_before: Option<Instant>,
}

/// A connection with its channels: a fault of one kind of call ends only what shares its channel, so they
/// have one each.
struct Live {
    connection: Connection,
    send: Channel,
    take: Channel,
    prefix: String,
    patience: Duration,
}

impl RabbitDispatch {
    /// Connects and declares the queues. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`DispatchError`]: no such address, no answer, or no certificate to trust.
    pub async fn connect(url: &str, options: RabbitOptions) -> Result<Self, DispatchError> {
        const ACTION: &str = "take its address";
        // No part of the address is repeated: it may hold a password.
        let mut uri: AMQPUri = url.parse().map_err(|error: String| failed(ACTION, error))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        tls::use_ring();
        let connector = options.tls_ca.as_deref().map(connector).transpose();
        let line = Line {
            uri,
            connector: connector.map_err(|error| failed(ACTION, error))?,
            prefix: options.prefix,
            patience: options.patience,
            state: Mutex::new(State::default()),
        };
        line.live("answer").await?;
        Ok(Self {
            line,
            asking: Mutex::new(()),
        })
    }
}

#[async_trait]
impl Dispatch for RabbitDispatch {
    async fn send(&self, id: JobId, priority: Priority) -> Result<(), DispatchError> {
        const ACTION: &str = "take the ticket";
        let live = self.line.live(ACTION).await?;
        let sent = live.within(publish(&live, id, priority)).await;
        self.line.checked(ACTION, &live, sent).await
    }

    async fn take(&self) -> Result<Box<dyn Ticket>, DispatchError> {
        const ACTION: &str = "give a ticket";
        let _turn = self.asking.lock().await;
        let mut pause = LOOKS.0;
        loop {
            self.line.pause().await;
            let live = self.line.live(ACTION).await?;
            let looking = Arc::clone(&live);
            // In a task of its own: whoever asks may go away while the ticket is on its way here. It is
            // then dropped there, and so given back.
            let looked = tokio::spawn(async move { looking.within(look(&looking)).await }).await;
            let looked = looked.unwrap_or_else(|error| Err(error.into()));
            match self.line.checked(ACTION, &live, looked).await? {
                Some(ticket) => return Ok(Box::new(ticket)),
                None => sleep(pause).await,
            }
            pause = LOOKS.1.min(pause * 2);
        }
    }

    async fn ping(&self) -> Result<(), DispatchError> {
        const ACTION: &str = "answer";
        let live = self.line.live(ACTION).await?;
        let asked = live
            .within(async { Ok(live.take.basic_qos(1, BasicQosOptions::default()).await?) })
            .await;
        self.line.checked(ACTION, &live, asked).await
    }
}

async fn publish(live: &Live, id: JobId, priority: Priority) -> Result<(), BoxError> {
    // Refused when the queue is gone, for instance deleted by hand: the next connection declares it.
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let queue = queue(&live.prefix, priority);
    let text = id.to_string();
    let sent = live
        .send
        .basic_publish("".into(), queue.into(), options, text.as_bytes(), persistent);
    match sent.await?.await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err("the queue is gone".into()),
        Confirmation::Nack(_) => Err("the broker refused the ticket".into()),
        Confirmation::NotRequested => Err("the broker confirms nothing".into()),
    }
}

/// The first ticket of the highest queue that has one.
async fn look(live: &Arc<Live>) -> Result<Option<Held>, BoxError> {
    for priority in Priority::ALL {
        let queue = queue(&live.prefix, priority);
        while let Some(message) = live
            .take
            .basic_get(queue.as_str().into(), BasicGetOptions::default())
            .await?
        {
            let delivery = message.delivery;
            let job = std::str::from_utf8(&delivery.data)
                .ok()
                .and_then(|text| text.parse().ok());
            match job {
                Some(job) => {
                    return Ok(Some(Held {
                        job,
                        delivery: Some(delivery),
                        live: Arc::clone(live),
                    }));
                }
                // Not one of ours; it would come back for ever.
                None => {
                    tracing::warn!(queue, "something that is no ticket was thrown away");
                    delivery.acker.ack(BasicAckOptions::default()).await?;
                }
            }
        }
    }
    Ok(None)
}

/// A ticket in hand, with the connection that it belongs to. Dropped, it goes back to its queue.
struct Held {
    job: JobId,
    delivery: Option<Delivery>,
    live: Arc<Live>,
}

#[async_trait]
impl Ticket for Held {
    fn job(&self) -> JobId {
        self.job
    }

    async fn done(mut self: Box<Self>) {
        let Some(delivery) = self.delivery.take() else { return };
        let done = self
            .live
            .within(async { Ok(delivery.acker.ack(BasicAckOptions::default()).await?) })
            .await;
        if let Err(error) = done {
            tracing::debug!(job.id = %self.job, error = %error, "a ticket stays in its queue and comes again");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (Some(delivery), Ok(runtime)) = (self.delivery.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let live = Arc::clone(&self.live);
        runtime.spawn(async move {
            let back = BasicNackOptions {
                requeue: true,
                ..BasicNackOptions::default()
            };
            // Failing is harmless: it goes back when the connection ends.
            let _ = live.within(async { Ok(delivery.acker.nack(back).await?) }).await;
        });
    }
}

impl Live {
    async fn within<T>(&self, call: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        timeout(self.patience, call)
            .await
            .unwrap_or_else(|_| Err("no answer in time".into()))
    }
}

impl Line {
    /// The live connection, or a new one.
    async fn live(&self, action: &'static str) -> Result<Arc<Live>, DispatchError> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            if live.connection.status().connected() {
                return Ok(Arc::clone(live));
            }
            state.live = None;
        }
        if state.not_before.is_some_and(|at| at > Instant::now()) {
            return Err(failed(action, "no connection; the last try has just failed"));
        }
        let tried = timeout(self.patience, self.connect())
            .await
            .unwrap_or_else(|_| Err("no answer in time".into()));
        match tried {
            Ok(live) => {
                if state.failures > 0 {
                    tracing::info!("connected to RabbitMQ again");
                }
                let live = Arc::new(live);
                *state = State {
                    live: Some(Arc::clone(&live)),
                    ..State::default()
                };
                Ok(live)
            }
            Err(error) => {
                let pause = PAUSES.0 * 2_u32.saturating_pow(state.failures.min(10));
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(Instant::now() + pause.min(PAUSES.1));
                Err(failed(action, error))
            }
        }
    }

    /// Waits until another try to connect may be made: who loops over calls must not spin.
    async fn pause(&self) {
        let until = self.state.lock().await.not_before;
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    /// Ends the connection on which a call failed; the next call makes another.
    async fn checked<T>(
        &self,
        action: &'static str,
        live: &Arc<Live>,
        answer: Result<T, BoxError>,
    ) -> Result<T, DispatchError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let mut state = self.state.lock().await;
                if state.live.as_ref().is_some_and(|known| Arc::ptr_eq(known, live)) {
                    state.live = None;
                }
                Err(failed(action, error))
            }
        }
    }

    async fn connect(&self) -> Result<Live, BoxError> {
        let options = ConnectionProperties::default().with_connection_name("seatrial".into());
        let connection = match &self.connector {
            None => Connection::connect_uri(self.uri.clone(), options).await?,
            Some(connector) => {
                let connector = Arc::clone(connector);
                let dial = async move |uri: AMQPUri, runtime| {
                    let host = uri.authority.host.as_str();
                    let places: Vec<_> = tokio::net::lookup_host((host, uri.authority.port)).await?.collect();
                    let stream = AsyncTcpStream::connect(&runtime, places).await?;
                    Ok(match uri.scheme {
                        AMQPScheme::AMQP => stream,
                        AMQPScheme::AMQPS => stream.into_rustls(&connector, host).await?,
                    })
                };
                Connection::connector(self.uri.clone(), default_runtime()?, dial, options).await?
            }
        };
        let (send, take) = (connection.create_channel().await?, connection.create_channel().await?);
        send.confirm_select(ConfirmSelectOptions::default()).await?;
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut kind = FieldTable::default();
        kind.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        kind.insert("x-max-length".into(), AMQPValue::LongLongInt(MOST));
        for priority in Priority::ALL {
            let name = queue(&self.prefix, priority);
            send.queue_declare(name.into(), durable, kind.clone()).await?;
        }
        Ok(Live {
            connection,
            send,
            take,
            prefix: self.prefix.clone(),
            patience: self.patience,
        })
    }
}

fn queue(prefix: &str, priority: Priority) -> String {
    format!("{prefix}.{priority}")
}

/// Trusts the certificates of this file and no others.
fn connector(path: &std::path::Path) -> Result<Arc<RustlsConnector>, BoxError> {
    let pem = tls::read_ca(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let config = RustlsConnectorConfig::default().with_parsable_certificates(certificates);
    Ok(Arc::new(config.connector_with_no_client_auth()?))
}

fn failed(action: &'static str, source: impl Into<BoxError>) -> DispatchError {
    DispatchError {
        action,
        source: source.into(),
    }
}
