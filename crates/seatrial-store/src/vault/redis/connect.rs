//! The way to the vault's Redis: verified, bounded in time, and taken up again when it was lost.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::{
    Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisError, RedisResult,
    ServerErrorKind, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use crate::{tls, vault::OpenError};

const TO_CONNECT: Duration = Duration::from_secs(5);
/// For one command: 8 MiB over a slow line.
const TO_ANSWER: Duration = Duration::from_secs(20);

/// Where the vault's Redis is.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://`, with user and password; another server than the ledger's.
    pub url: String,
    /// Certificates in PEM that the server's must come from, instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// Take a Redis that may lose what it acknowledged.
    pub allow_loss: bool,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedisOptions")
            .field("url", &"(not shown)")
            .field("tls_ca", &self.tls_ca)
            .field("allow_loss", &self.allow_loss)
            .finish()
    }
}

/// A connection that comes back.
pub(super) struct Link {
    client: Client,
    manager: Mutex<ConnectionManager>,
}

impl Link {
    pub(super) async fn ask<T: FromRedisValue>(&self, pipe: &Pipeline) -> RedisResult<T> {
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = pipe.query_async(&mut manager).await;
        if let Err(error) = &answer
            && is_stuck(error)
        {
            let fresh = manage(&self.client)?;
            *self.manager.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        answer
    }
}

/// The server took the command and said no: it is full, say.
pub(super) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// The manager tries again after a lost connection, but when a server refuses the first words of a new one
/// (the password was changed, it is loading) it keeps that refusal for ever.
fn is_stuck(error: &RedisError) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Extension
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort)
    )
}

pub(super) async fn connect(options: &RedisOptions) -> Result<Link, OpenError> {
    let client = client(options)?;
    let manager = manage(&client).map_err(unreachable("take a connection"))?;
    let link = Link {
        client,
        manager: Mutex::new(manager),
    };
    if !options.allow_loss {
        check(&link).await?;
    }
    let () = link
        .ask(redis::pipe().cmd("PING").ignore())
        .await
        .map_err(unreachable("answer"))?;
    Ok(link)
}

fn client(options: &RedisOptions) -> Result<Client, OpenError> {
    let unfit = |why: &str| OpenError::Unfit(why.to_owned());
    // Nothing of the URL is repeated: it may hold a password.
    let info = options
        .url
        .as_str()
        .into_connection_info()
        .map_err(|_| unfit("its URL is not redis://HOST:PORT/DATABASE or rediss://…"))?;
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(unfit(
                "its URL says #insecure: name the certificate's issuer in a CA file",
            ));
        }
        ConnectionAddr::TcpTls { .. } => {}
        _ if options.tls_ca.is_some() => return Err(unfit("it has a CA file, and its URL is not rediss://")),
        _ => return Client::open(info).map_err(unreachable("take its URL")),
    }
    tls::use_ring();
    let read_ca = |path: &PathBuf| {
        tls::read_ca(path).map_err(|source| OpenError::Unreachable {
            action: "read its CA file",
            source,
        })
    };
    let root_cert = options.tls_ca.as_ref().map(read_ca).transpose()?;
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert,
    };
    Client::build_with_tls(info, certificates).map_err(unreachable("take its certificates"))
}

fn manage(client: &Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(TO_CONNECT))
        .set_response_timeout(Some(TO_ANSWER))
        .set_number_of_retries(2)
        .set_max_delay(Duration::from_secs(1));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// A put must still be there after a crash, and nothing may be thrown out to make room.
async fn check(link: &Link) -> Result<(), OpenError> {
    const WANTED: [(&str, &str); 3] = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
    ];
    for (name, wanted) in WANTED {
        let mut pipe = redis::pipe();
        pipe.cmd("CONFIG").arg("GET").arg(name);
        let answer: RedisResult<(BTreeMap<String, String>,)> = link.ask(&pipe).await;
        match answer {
            Ok((values,)) if values.get(name).is_some_and(|value| value == wanted) => {}
            Ok(_) => {
                return Err(OpenError::Unfit(format!(
                    "its Redis may lose bytes: it needs `{name} {wanted}`"
                )));
            }
            Err(error) if is_answer(&error) => {
                return Err(OpenError::Unfit(format!(
                    "its Redis does not say whether it keeps bytes: allow `CONFIG GET {name}`"
                )));
            }
            Err(error) => return Err(unreachable("answer")(error)),
        }
    }
    Ok(())
}

fn unreachable(action: &'static str) -> impl Fn(RedisError) -> OpenError {
    move |source| OpenError::Unreachable {
        action,
        source: source.into(),
    }
}
