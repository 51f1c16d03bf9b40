//! The client of a server: one HTTP connection pool, typed answers, patience with what passes.
//!
//! # Liveness
//! Every call has a time limit for its connection and for each read. What may pass (a refused connection,
//! 503, a front server that cannot reach us) is tried again with back-off, at most for [`Patience::whole`].
//! Every call that is made here may be repeated: reads, cancellation, and submissions, which carry an
//! idempotency key.
//!
//! # What a server may do to us
//! A server is trusted with the job, not with the terminal, the memory or the disk: its words are escaped,
//! its documents are bounded, redirects are not followed, and file names are checked before use.

pub(crate) mod download;
pub(crate) mod events;
pub(crate) mod failure;
pub(crate) mod follow;
pub(crate) mod form;
pub(crate) mod log;
pub(crate) mod model;
mod sse;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{Method, Request, Response, header::HeaderMap};
use seatrial_core::{
    id::{CorrelationId, JobId},
    progress::{Progress, Watch},
};
use serde::de::DeserializeOwned;
use url::Url;

pub(crate) use self::failure::Failure;
use self::model::Job;

/// Largest document that is read: a job names every vulnerability of its image.
const MAX_DOCUMENT: usize = 64 << 20;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a read may take. A server's heart-beat on open streams comes each 15 s.
const READ: Duration = Duration::from_secs(45);

/// A server, and how we talk to it.
pub(crate) struct Client {
    server: Url,
    http: reqwest::Client,
    correlation: CorrelationId,
    patience: Patience,
    watch: Arc<dyn Watch>,
}

/// How often and how long something is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The first pause; each further one is twice as long.
    pub(crate) first: Duration,
    /// The longest pause, unless the server asks for a longer one.
    pub(crate) longest: Duration,
    /// All pauses together.
    pub(crate) whole: Duration,
    /// The same where the server itself asks to be asked again: a full queue takes longer.
    pub(crate) when_asked: Duration,
}

impl Patience {
    /// With one call.
    pub(crate) const CALL: Self = Self {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(3),
        whole: Duration::from_secs(5),
        when_asked: Duration::from_secs(90),
    };

    /// With a server that went away while we wait for a job: it may be restarted meanwhile.
    pub(crate) const WAIT: Self = Self {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(10),
        whole: Duration::from_secs(180),
        when_asked: Duration::from_secs(180),
    };

    /// The pause before the next try after `tries` more than the first, or `None` when it was tried long
    /// enough.
    pub(crate) fn pause(self, tries: u32, spent: Duration, asked: Option<Duration>) -> Option<Duration> {
        let own = self.first.saturating_mul(1 << tries.min(16)).min(self.longest);
        let (pause, whole) = match asked {
            Some(asked) => (asked.max(own), self.when_asked),
            None => (jittered(own), self.whole),
        };
        (spent + pause <= whole).then_some(pause)
    }
}

/// Between three quarters and the whole: many clients of one server should not come back together.
fn jittered(pause: Duration) -> Duration {
    let spread = Timestamp::now().subsec_nanosecond().unsigned_abs() % 256;
    pause - pause / 4 * spread / 256
}

impl Client {
    /// A client of `server`. What it waits for is told to `watch`.
    pub(crate) fn new(server: &Url, correlation: CorrelationId, watch: Arc<dyn Watch>) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("seatrial/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(server) {
            builder = builder.no_proxy(); // a proxy's loopback is another machine's
        }
        let http = builder
            .build()
            .map_err(|error| Failure::unreachable(&shown(server), &error))?;
        Ok(Self {
            server: server.clone(),
            http,
            correlation,
            patience: Patience::CALL,
            watch,
        })
    }

    /// The server's address without a password.
    pub(crate) fn server(&self) -> String {
        shown(&self.server)
    }

    /// A request for `path` below the server's own.
    pub(crate) fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Request {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        // Through the builder, which makes an Authorization header of a name and password in the URL.
        self.http
            .request(method.clone(), url.clone())
            .header("x-correlation-id", self.correlation.as_str())
            .build()
            .unwrap_or_else(|_| Request::new(method, url))
    }

    /// Sends once.
    pub(crate) async fn once(&self, request: Request) -> Result<Response, Failure> {
        match self.http.execute(request).await {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(Failure::of(&self.server(), response).await),
            Err(error) => Err(Failure::unreachable(&self.server(), &error)),
        }
    }

    /// Sends until an answer begins, or patience ends.
    pub(crate) async fn open(&self, request: &Request) -> Result<Response, Failure> {
        self.retrying(request, async |response| Ok(response)).await
    }

    /// Sends until a whole answer is there, or patience ends.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<(HeaderMap, Vec<u8>), Failure> {
        self.retrying(request, async |response| {
            let headers = response.headers().clone();
            Ok((headers, self.whole(response).await?))
        })
        .await
    }

    /// Sends until a whole document is there, or patience ends.
    pub(crate) async fn document<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        let (_, bytes) = self.fetch(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            self.foreign(format!(
                "its document cannot be read: {}",
                failure::short(&error.to_string())
            ))
        })
    }

    /// An answer that is not the API's.
    pub(crate) fn foreign(&self, what: impl Into<String>) -> Failure {
        Failure::foreign(&self.server(), what)
    }

    /// Tells whoever watches.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.watch.tell(Progress::Note { text: text.into() });
    }

    async fn retrying<T>(
        &self,
        request: &Request,
        finish: impl AsyncFn(Response) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut spent = Duration::ZERO;
        let mut tries = 0;
        loop {
            // Bodies are in memory, so there is always a copy.
            let Some(copy) = request.try_clone() else {
                return Err(self.foreign("the request cannot be repeated"));
            };
            let failure = match self.once(copy).await {
                Ok(response) => match finish(response).await {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            let pause = self.patience.pause(tries, spent, failure.retry_after());
            let Some(pause) = pause.filter(|_| failure.may_pass()) else {
                return Err(failure);
            };
            if tries == 0 || pause >= Duration::from_secs(2) {
                self.note(format!("{failure}; trying again"));
            }
            tokio::time::sleep(pause).await;
            spent += pause;
            tries += 1;
        }
    }

    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| Failure::unreachable(&self.server(), &error))?
        {
            if bytes.len() + chunk.len() > MAX_DOCUMENT {
                return Err(self.foreign(format!("its answer is longer than {MAX_DOCUMENT} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// One job.
pub(crate) async fn job(client: &Client, id: JobId) -> Result<Job, Failure> {
    let request = client.request(Method::GET, &["jobs", &id.to_string()], &[]);
    this_job(client, id, client.document(&request).await?)
}

/// Asks for a job's end.
pub(crate) async fn cancel(client: &Client, id: JobId) -> Result<Job, Failure> {
    let request = client.request(Method::POST, &["jobs", &id.to_string(), "cancel"], &[]);
    this_job(client, id, client.document(&request).await?)
}

fn this_job(client: &Client, id: JobId, job: Job) -> Result<Job, Failure> {
    if job.view.id == id {
        return Ok(job);
    }
    Err(client.foreign(format!("asked for {id}, it tells of {}", job.view.id)))
}

/// Workers that live.
pub(crate) async fn workers(client: &Client) -> Result<model::Workers, Failure> {
    client.document(&client.request(Method::GET, &["workers"], &[])).await
}

/// How the queue stands.
pub(crate) async fn queue(client: &Client) -> Result<model::Queue, Failure> {
    client.document(&client.request(Method::GET, &["queue"], &[])).await
}

/// A server on this machine.
pub(crate) fn is_loopback(server: &Url) -> bool {
    match server.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn shown(server: &Url) -> String {
    let mut url = server.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("…")); // fails for URLs without a host only
    }
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let patience = Patience::CALL;
        let (mut spent, mut tries, mut pauses) = (Duration::ZERO, 0, Vec::new());
        while let Some(pause) = patience.pause(tries, spent, None) {
            spent += pause;
            tries += 1;
            pauses.push(pause);
        }
        assert!(spent <= patience.whole && pauses.len() >= 4, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= patience.longest));
        assert!(pauses[0] < pauses[2], "{pauses:?}");
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it_within_bounds() {
        let asked = |seconds| Patience::CALL.pause(0, Duration::ZERO, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(5), Some(Duration::from_secs(5)));
        assert_eq!(asked(0), Some(Duration::from_millis(200)));
        assert_eq!(asked(3600), None);
    }

    #[test]
    fn a_servers_own_path_is_kept_and_its_password_not_shown() {
        let server: Url = "https://me:secret@ci.example/seatrial/".parse().unwrap();
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::new(
            &server,
            CorrelationId::accept_or_fresh("c-1"),
            Arc::new(seatrial_core::progress::Unwatched),
        )
        .unwrap();
        let request = client.request(Method::GET, &["jobs", "a/b"], &[("label", "k=v w")]);
        assert_eq!(request.url().path(), "/seatrial/v1/jobs/a%2Fb");
        assert_eq!(request.url().query(), Some("label=k%3Dv+w"));
        assert_eq!(request.headers()["x-correlation-id"], "c-1");
        assert!(request.headers().contains_key("authorization"));
        assert!(!client.server().contains("secret") && !request.url().as_str().contains("secret"));
    }
}
