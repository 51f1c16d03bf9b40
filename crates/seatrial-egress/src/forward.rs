//! Plain HTTP: one request to a host, and its answer back, hashed on its way.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
    header::{HeaderValue, VIA},
};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::{
    client::{LONGEST_HEAD, MOST_HEADERS},
    journal::Record,
    meter::{ENOUGH, Metered},
    request::{Refusal, drop_hops},
};

/// What is sent as a body.
pub(crate) enum Answer {
    /// Words of ours, or none.
    Text(Option<Bytes>),
    /// A host's.
    Hosts(Box<Passing>),
}

/// A host's answer, whose body is still to come.
pub(crate) struct Asked {
    response: Response<Incoming>,
    driver: Driver,
    /// There is a body, be it empty.
    hashed: bool,
}

/// What moves a connection to a host; it gives bytes only while this is polled. `None` when it is done.
type Driver = Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>;

/// A body that passes.
pub(crate) struct Passing {
    incoming: Incoming,
    driver: Driver,
    /// `None` when there can be no body.
    hash: Option<Sha256>,
    bytes: u64,
    /// Until the body is over.
    record: Option<Record>,
}

/// Asks a host, and waits for the head of its answer.
pub(crate) async fn ask(request: Request<Answer>, to: Metered, patience: Duration) -> Result<Asked, Refusal> {
    let meter = to.meter.clone();
    let get = request.method() == Method::GET;
    let asking = async {
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(MOST_HEADERS)
            .max_buf_size(2 * LONGEST_HEAD)
            .handshake(TokioIo::new(to))
            .await?;
        let mut driver: Driver = Some(Box::pin(connection));
        let mut sending = pin!(sender.send_request(request));
        let response = poll_fn(|cx| {
            drive(&mut driver, cx);
            sending.as_mut().poll(cx)
        })
        .await?;
        let hashed = get && !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok::<_, hyper::Error>(Asked {
            response,
            driver,
            hashed,
        })
    };
    let asked = match timeout(patience, asking).await {
        Err(_) => {
            let what = "the host did not begin an answer in time";
            return Err(Refusal::trouble(StatusCode::GATEWAY_TIMEOUT, what));
        }
        Ok(Err(_)) if meter.is_over() => return Err(Refusal::rule(ENOUGH)),
        Ok(Err(_)) => {
            let what = "the host's answer is not one that HTTP knows";
            return Err(Refusal::trouble(StatusCode::BAD_GATEWAY, what));
        }
        Ok(Ok(asked)) => asked,
    };
    if asked.response.status().is_informational() {
        let what = "the host changes to another protocol, which was not asked for";
        return Err(Refusal::trouble(StatusCode::BAD_GATEWAY, what));
    }
    Ok(asked)
}

impl Asked {
    /// The answer as whoever asked gets it.
    pub(crate) fn answer(self, mut record: Record) -> Response<Answer> {
        let (head, incoming) = self.response.into_parts();
        record.status(head.status.as_u16());
        record.body(0);
        let mut passing = Passing {
            incoming,
            driver: self.driver,
            hash: self.hashed.then(Sha256::new),
            bytes: 0,
            record: Some(record),
        };
        // Nobody may ask again for a body that is not there.
        passing.end_if_over();
        let mut response = Response::new(Answer::Hosts(Box::new(passing)));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        drop_hops(response.headers_mut());
        response
            .headers_mut()
            .append(VIA, HeaderValue::from_static("1.1 seatrial"));
        response
    }
}

impl Answer {
    pub(crate) fn empty() -> Self {
        Self::Text(None)
    }

    pub(crate) fn text(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl Passing {
    fn end_if_over(&mut self) {
        if self.incoming.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.allowed(self.hash.take().map(|hash| hash.finalize().into()));
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        loop {
            drive(&mut self.driver, cx);
            let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => {
                    self.end();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    if let Some(mut record) = self.record.take() {
                        record.stopped("the host broke off its answer");
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => frame,
            };
            // Trailers are between neighbours.
            let Ok(data) = frame.into_data() else { continue };
            let this = &mut *self;
            if let Some(hash) = &mut this.hash {
                hash.update(&data);
            }
            this.bytes += data.len() as u64;
            if let Some(record) = &mut this.record {
                record.body(this.bytes);
            }
            this.end_if_over();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Hosts(passing) => Pin::new(&mut **passing).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Hosts(passing) => passing.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Hosts(passing) => passing.size_hint(),
        }
    }
}

/// Moves a connection on. What goes wrong with it is seen in the body.
fn drive(driver: &mut Driver, cx: &mut Context<'_>) {
    let done = driver
        .as_mut()
        .is_some_and(|driver| driver.as_mut().poll(cx).is_ready());
    if done {
        *driver = None;
    }
}
