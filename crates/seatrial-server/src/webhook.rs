//! Word of a job's end, sent over HTTP to whoever asked for it: signed after Standard Webhooks, a CloudEvent as
//! body. When and how often is [`seatrial_pipeline::service::deliver`]'s; `docs/WEBHOOKS.md` is for receivers.
//!
//! # Whom we call
//! An address comes from a submitter, so it is judged as hostile: URL, port and literal address at submission
//! and again before each try, a name by all the addresses that it has when it is called. The look-up that
//! judges is the one that connects: there is no second one that could say something else. No redirect is
//! followed, no proxy of the environment is used, no connection is used twice.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use seatrial_core::finding::escape_untrusted;
use seatrial_pipeline::service::deliver::{Answer, DeliverSettings, End, Letter, Sender, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::sign::{BadSecret, Secrets};
use self::target::BadTarget;
pub(crate) use self::target::Targets;
use crate::{
    config::{self, BadConfig, WebhookConfig},
    correlation::CORRELATION,
    metrics::Metrics,
};

mod event;
mod sign;
mod target;

/// What is read of an answer's body, so that a short one ends in order. It is thrown away.
const ANSWER_BYTES: usize = 4 << 10;
/// How long that may take.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Most headers of an answer.
const ANSWER_HEADERS: usize = 64;
/// Largest file of certificates.
const LONGEST_CA: u64 = 1 << 20;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The certificates of the setting `server.webhooks.tls_ca`.
    #[error("the certificates in {file} cannot be used")]
    Certificates {
        /// The file.
        file: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client of webhooks cannot be made")]
    Client(#[from] reqwest::Error),
}

/// Sends over HTTP.
pub struct HttpSender {
    client: reqwest::Client,
    targets: Arc<Targets>,
    secrets: Secrets,
    source: String,
    metrics: Metrics,
}

impl HttpSender {
    /// Signs with `secrets` and counts in `metrics`.
    ///
    /// # Errors
    /// [`SenderError`].
    pub fn new(config: &WebhookConfig, secrets: Secrets, metrics: Metrics) -> Result<Self, SenderError> {
        Self::looking_up(config, secrets, metrics, look_up)
    }

    fn looking_up(
        config: &WebhookConfig,
        secrets: Secrets,
        metrics: Metrics,
        look_up: LookUp,
    ) -> Result<Self, SenderError> {
        // Another choice that was made before stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let targets = Arc::new(config::check_webhooks(config)?);
        let resolver = Judging {
            targets: targets.clone(),
            look_up,
            places: Arc::new(Semaphore::new(config.max_tries)),
        };
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("seatrial/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(config.connect_time)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .http1_max_headers(ANSWER_HEADERS)
            .pool_max_idle_per_host(0);
        if let Some(path) = &config.tls_ca {
            client = client.tls_certs_merge(certificates(path)?);
        }
        Ok(Self {
            client: client.build()?,
            targets,
            secrets,
            source: config.source.clone(),
            metrics,
        })
    }

    async fn post(&self, letter: Letter<'_>) -> Result<reqwest::Response, Failure> {
        let url = self.targets.judge(letter.url)?;
        let id = event::id(letter.record.id);
        let body = event::body(letter, &id, &self.source).map_err(|_| Failure::Unwritable)?;
        let at = Timestamp::now().as_second();
        let mut request = self
            .client
            .post(url)
            .header("webhook-id", &id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", self.secrets.sign(&id, at, &body))
            .header(header::CONTENT_TYPE, event::MEDIA_TYPE)
            .header(CORRELATION, letter.record.correlation_id.as_str());
        if let Some(traceparent) = &letter.record.traceparent {
            request = request.header("traceparent", traceparent);
        }
        Ok(request.body(body).send().await?)
    }
}

#[async_trait]
impl Sender for HttpSender {
    async fn send(&self, letter: Letter<'_>) -> Answer {
        match self.post(letter).await {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers());
                let verdict = verdict(status, headers, Timestamp::now());
                // The head decides: a body that does not end must not turn it around.
                tokio::spawn(tokio::time::timeout(ANSWER_TIME, drain(response)));
                Answer {
                    status: Some(status.as_u16()),
                    verdict,
                }
            }
            Err(failure) => Answer {
                status: None,
                verdict: failure.verdict(),
            },
        }
    }

    fn place(&self, url: &str) -> String {
        let url = url::Url::parse(url).ok();
        let place = url.as_ref().and_then(|url| {
            let host = url.host_str()?;
            Some(format!("{host}:{}", url.port_or_known_default()?))
        });
        escape_untrusted(&place.unwrap_or_default())
    }

    fn count(&self, end: End) {
        self.metrics.delivery(end);
    }
}

impl WebhookConfig {
    /// How deliveries are made.
    #[must_use]
    pub fn deliveries(&self) -> DeliverSettings {
        DeliverSettings {
            slots: self.max_tries,
            try_time: self.try_time,
            pauses: self.schedule.clone(),
        }
    }
}

/// What a receiver's answer means.
fn verdict(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Verdict {
    let number = status.as_u16();
    match number {
        200..=299 => Verdict::Taken,
        410 => Verdict::Refused {
            kind: "gone",
            error: "the receiver answered 410: it wants no more".to_owned(),
        },
        300..=399 => Verdict::Failed {
            kind: "redirect",
            error: format!("the receiver answered {number}; redirects are not followed"),
            after: None,
        },
        _ => Verdict::Failed {
            kind: "status",
            error: format!("the receiver answered {number}"),
            after: matches!(number, 429 | 503).then(|| retry_after(headers, now)).flatten(),
        },
    }
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER).map(HeaderValue::to_str)?.ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let pause: SignedDuration = until.duration_since(now);
    Duration::try_from(pause).ok()
}

async fn drain(mut response: reqwest::Response) {
    let mut seen = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        seen += chunk.len();
        if seen >= ANSWER_BYTES {
            break;
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, SenderError> {
    let read = || -> Result<_, Box<dyn Error + Send + Sync>> {
        if std::fs::metadata(path)?.len() > LONGEST_CA {
            return Err("it is longer than 1 MiB".into());
        }
        let certificates = reqwest::Certificate::from_pem_bundle(&std::fs::read(path)?)?;
        if certificates.is_empty() {
            return Err("it holds no certificate in PEM".into());
        }
        Ok(certificates)
    };
    read().map_err(|source| SenderError::Certificates {
        file: path.display().to_string(),
        source,
    })
}

/// Why a try came to no answer. Words for the submitter: they say nothing of what a name leads to inside.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Target(#[from] BadTarget),
    #[error("{0}")]
    Inside(Inside),
    #[error("the receiver's name has no address")]
    NoAddress,
    #[error("no connection to the receiver in time")]
    Slow,
    #[error("the receiver's certificate is not trusted, or TLS was not agreed on")]
    Tls,
    #[error("no connection to the receiver")]
    NoConnection,
    #[error("the connection ended before an answer")]
    Broken,
    #[error("the event could not be written")]
    Unwritable,
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        if let Some(inside) = find::<Inside>(&error) {
            return Self::Inside(*inside);
        }
        if error.is_dns() {
            return Self::NoAddress;
        }
        if find::<rustls::Error>(&error).is_some() {
            return Self::Tls;
        }
        match (error.is_timeout(), error.is_connect()) {
            (true, _) => Self::Slow,
            (false, true) => Self::NoConnection,
            (false, false) => Self::Broken,
        }
    }
}

impl Failure {
    fn verdict(self) -> Verdict {
        let error = self.to_string();
        let kind = match self {
            // The text itself is wrong, and stays so.
            Self::Target(_) => {
                return Verdict::Refused {
                    kind: "refused_address",
                    error,
                };
            }
            Self::Inside(_) => "refused_address",
            Self::NoAddress => "no_address",
            Self::Slow => "time",
            Self::Tls => "tls",
            Self::NoConnection => "no_connection",
            Self::Broken => "broken",
            Self::Unwritable => "unwritable",
        };
        Verdict::Failed {
            kind,
            error,
            after: None,
        }
    }
}

/// An error in a chain of causes. An I/O error gives out the source of what it holds instead of what it holds.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

/// A name leads to an address that is not called.
#[derive(Clone, Copy, Debug)]
struct Inside(&'static str);

impl fmt::Display for Inside {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the name leads to {}, which is not called", self.0)
    }
}

impl Error for Inside {}

/// Addresses of a name.
type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type LookUp = fn(String, OwnedSemaphorePermit) -> Looking;

/// Asks the system, which takes its time on a thread of its own and cannot be stopped: the place is given back
/// when it is done, so a slow name server takes no more threads than there are places.
fn look_up(name: String, place: OwnedSemaphorePermit) -> Looking {
    let ask = move || {
        let _place = place;
        // The client puts the URL's port in place of this one.
        Ok((name.as_str(), 0).to_socket_addrs()?.collect())
    };
    Box::pin(async move { tokio::task::spawn_blocking(ask).await.map_err(io::Error::other)? })
}

/// Looks names up for the client, and gives it only addresses that may be called. One that may not be spoils
/// the others: a name that leads outside and inside at once is no receiver's.
struct Judging {
    targets: Arc<Targets>,
    look_up: LookUp,
    places: Arc<Semaphore>,
}

impl Resolve for Judging {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.targets.clone();
        let name = name.as_str().to_owned();
        let (look_up, places) = (self.look_up, self.places.clone());
        Box::pin(async move {
            let place = places.acquire_owned().await?;
            let addresses = look_up(name.clone(), place).await?;
            for address in &addresses {
                if let Some(what) = targets.refusal(address.ip()) {
                    // The operator sees the address; the submitter sees what kind it is.
                    tracing::warn!(host = escape_untrusted(&name), address = %address.ip(), what, "a webhook's name leads inside");
                    return Err(Inside(what).into());
                }
            }
            if addresses.is_empty() {
                return Err(io::Error::other("no address").into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
