//! One connection of whoever asks: requests of HTTP, one after the other, until one becomes a tunnel.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::DuplexStream;

use crate::{
    allow::Use,
    args::Settings,
    forward::{self, Answer},
    journal::{Journal, Record},
    link::Link,
    meter::{Budget, ENOUGH, Meter, Metered},
    request::{self, Refusal, Wanted},
    route::Router,
    tunnel::Tunnel,
};

/// The longest head of a request. Of an answer it may be some more: reading stops only after a piece beyond it.
pub(crate) const LONGEST_HEAD: usize = 32_768;
/// Most headers of a request or an answer.
pub(crate) const MOST_HEADERS: usize = 100;
/// For the head of a request, from the moment at which one may come.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// What all connections have in common.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    router: Router,
    journal: Journal,
    budget: Arc<Budget>,
    requests: AtomicU64,
}

impl Shared {
    pub(crate) fn new(settings: Settings, router: Router, journal: Journal) -> Arc<Self> {
        let budget = Arc::new(Budget::new(settings.max_bytes));
        Arc::new(Self {
            settings,
            router,
            journal,
            budget,
            requests: AtomicU64::new(0),
        })
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(io: DuplexStream, shared: &Arc<Shared>, link: &Arc<Link>) {
    let tunnel = Mutex::new(None);
    let service = service_fn(|request| async {
        let (answer, made) = answer(request, shared, link).await;
        if made.is_some() {
            *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = made;
        }
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        // Who has asked and says no more still waits for an answer.
        .half_close(true)
        .max_headers(MOST_HEADERS)
        .max_header_size(LONGEST_HEAD)
        .max_buf_size(2 * LONGEST_HEAD)
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    if let Err(error) = connection.await
        && error.is_parse()
    {
        let mut record = shared.journal.record("", "");
        record.status(if error.is_parse_too_large() { 431 } else { 400 });
        record.refused("not a request that HTTP knows");
    }
    let made = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(tunnel) = made {
        tunnel.run().await;
    }
}

/// Answers one request; a tunnel begins when the answer is out.
async fn answer(
    mut request: Request<Incoming>,
    shared: &Shared,
    link: &Arc<Link>,
) -> (Response<Answer>, Option<Tunnel>) {
    let host = request.uri().authority().map_or("", |authority| authority.as_str());
    // A name and a password before it are refused, and written down nowhere.
    let host = host.rsplit('@').next().unwrap_or_default();
    let mut record = shared.journal.record(request.method().as_str(), host);
    let wanted = match judged(&request, shared, &mut record) {
        Ok(wanted) => wanted,
        Err(refusal) => return (refused(record, &refusal), None),
    };
    record.host(wanted.host.to_string(), wanted.port);
    if let Err(refusal) = request::listed(&shared.settings.allow, &wanted) {
        return (refused(record, &refusal), None);
    }
    if shared.budget.is_spent() {
        return (refused(record, &Refusal::rule(ENOUGH)), None);
    }
    let stream = match shared.router.connect(&wanted.host, wanted.port).await {
        Ok(stream) => stream,
        Err(refusal) => return (refused(record, &refusal), None),
    };
    let meter = Arc::new(Meter::new(
        shared.settings.max_connection_bytes,
        Arc::clone(&shared.budget),
    ));
    record.meter(Arc::clone(&meter));
    record.begun();
    let to = Metered {
        stream,
        meter,
        link: Arc::clone(link),
    };
    match wanted.what {
        Use::Tunnel => {
            let from = hyper::upgrade::on(&mut request);
            record.status(200);
            (Response::new(Answer::empty()), Some(Tunnel { from, to, record }))
        }
        Use::Plain => {
            let request = request::for_host(request, &wanted, Answer::empty());
            match forward::ask(request, to, shared.settings.answer).await {
                Ok(asked) => (asked.answer(record), None),
                Err(refusal) => (refused(record, &refusal), None),
            }
        }
    }
}

fn judged(request: &Request<Incoming>, shared: &Shared, record: &mut Record) -> Result<Wanted, Refusal> {
    let before = shared.requests.fetch_add(1, Relaxed);
    if before >= shared.settings.max_requests {
        let mut refusal = Refusal::rule("too many requests");
        refusal.status = StatusCode::TOO_MANY_REQUESTS;
        return Err(refusal);
    }
    record.served(before + 1);
    request::wanted(request)
}

/// Says no, and that there is no more to say here.
fn refused(mut record: Record, refusal: &Refusal) -> Response<Answer> {
    record.status(refusal.status.as_u16());
    let word = if refusal.by_rule {
        record.refused(&refusal.rule);
        "refused by the proxy"
    } else {
        record.stopped(&refusal.rule);
        "the proxy cannot"
    };
    let mut response = Response::new(Answer::text(format!("{word}: {}.\n", refusal.rule)));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
