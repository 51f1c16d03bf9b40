//! Where the Engine is, and a connection to it: a Unix socket, TLS with certificates as Docker keeps them, ssh, or
//! plain TCP on this host alone.
//!
//! Each request has a connection of its own, over which nothing else goes: an upgraded one carries a container's
//! streams, and a request that is dropped closes it. Only the configured authority vouches for an Engine, never
//! those of the system.

use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper::{Response, Uri, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use seatrial_core::finding::escape_untrusted;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Where the Engine listens when nobody says otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Longest time for what streams; our own bounds are tighter.
const WHOLE: u64 = 24 * 3600;
/// Ports as Docker has them.
const PORT_TLS: u16 = 2376;
const PORT_PLAIN: u16 = 2375;
/// How long a connection that failed may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is kept of what ssh says.
const SAID: u64 = 4096;

/// How the Engine is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// A Unix socket of this host.
    Socket,
    /// TLS; both sides prove who they are where the Engine asks for it.
    Tls,
    /// The system's `ssh`.
    Ssh,
    /// TCP on loopback, without any proof: whoever may open a port here is root there.
    Plain,
}

impl Reach {
    /// What is known of this host is known of the Engine's too.
    #[must_use]
    pub fn is_local(self) -> bool {
        self == Self::Socket
    }
}

/// Where an Engine is, parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Socket(String),
    Tls { host: String, port: u16, folder: PathBuf },
    Ssh(Ssh),
    Plain { host: String, port: u16 },
}

/// A host behind ssh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ssh {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The Engine's socket there; the client there knows it when it is not given.
    socket: Option<String>,
}

/// Why an Engine is not reached, as a clause for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Problem(String);

impl Way {
    /// `unix://…`, a path, `tcp://HOST[:PORT]`, `ssh://[USER@]HOST[:PORT][/SOCKET]`.
    pub(crate) fn parse(host: Option<&str>, certificates: Option<&Path>, allow_plain: bool) -> Result<Self, Problem> {
        let host = host.unwrap_or(DEFAULT_HOST);
        let (scheme, rest) = host.split_once("://").unwrap_or(("unix", host));
        match (scheme, certificates) {
            ("unix", _) => Ok(Self::Socket(host.to_owned())),
            ("ssh", _) => Ssh::parse(rest).map(Self::Ssh),
            ("tcp", Some(folder)) => {
                let (host, port) = address(rest, PORT_TLS)?;
                let folder = folder.to_owned();
                Ok(Self::Tls { host, port, folder })
            }
            ("tcp", None) => {
                let (host, port) = address(rest, PORT_PLAIN)?;
                if !allow_plain || !is_loopback(&host) {
                    return Err(Problem(format!(
                        "{host} would be reached without TLS, and whoever reads along is root there: set docker.cert_path \
                         (or DOCKER_TLS_VERIFY and DOCKER_CERT_PATH) to the folder with ca.pem, cert.pem and key.pem; \
                         docker.allow_plain allows it on loopback alone"
                    )));
                }
                Ok(Self::Plain { host, port })
            }
            _ => Err(Problem(format!(
                "{scheme}:// is none of unix://, tcp:// and ssh://, and only those are supported"
            ))),
        }
    }

    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::Socket(_) => Reach::Socket,
            Self::Tls { .. } => Reach::Tls,
            Self::Ssh(_) => Reach::Ssh,
            Self::Plain { .. } => Reach::Plain,
        }
    }

    /// A client that goes this way. Nothing is sent yet; certificates are read.
    pub(crate) fn client(self) -> Result<Docker, Problem> {
        let failed = |error: Error| Problem(error.to_string());
        let dial = match self {
            Self::Socket(host) => {
                return Docker::connect_with_unix(&host, WHOLE, API_DEFAULT_VERSION).map_err(failed);
            }
            Self::Tls { host, port, folder } => Dial::Tls {
                name: ServerName::try_from(host.clone())
                    .map_err(|_| Problem(format!("{host} is no name and no address")))?,
                tls: TlsConnector::from(Arc::new(proofs(&folder)?)),
                host,
                port,
                folder,
            },
            Self::Ssh(ssh) => Dial::Ssh(ssh),
            Self::Plain { host, port } => Dial::Plain { host, port },
        };
        let dial = Arc::new(dial);
        let transport = move |request: BollardRequest| {
            let dial = dial.clone();
            async move { ask(&dial, request).await.map_err(told) }
        };
        // The address is our own business; the client needs something to build its requests from.
        Docker::connect_with_custom_transport(transport, Some("http://engine"), WHOLE, API_DEFAULT_VERSION)
            .map_err(failed)
    }
}

impl Ssh {
    fn parse(rest: &str) -> Result<Self, Problem> {
        let (place, socket) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(&rest[at..])),
            None => (rest, None),
        };
        let socket = socket.filter(|socket| *socket != "/");
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, place),
        };
        let (host, port) = match place.contains(':') {
            true => address(place, 22).map(|(host, port)| (host, Some(port)))?,
            false => (place.to_owned(), None),
        };
        // Words of a command line here, and of a shell there.
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/".contains(c))
        };
        if !plain(&host) || !user.is_none_or(plain) || !socket.is_none_or(plain) {
            return Err(Problem(
                "an Engine behind ssh is ssh://[USER@]HOST[:PORT][/SOCKET], of letters, digits and ._-/".to_owned(),
            ));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host,
            port,
            socket: socket.map(str::to_owned),
        })
    }

    /// As the Docker client asks: a client on the other side passes bytes on to its Engine. Nobody is asked for a
    /// password, and an unknown host is refused.
    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]);
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &self.host, "docker"]);
        if let Some(socket) = &self.socket {
            command.args(["--host", &format!("unix://{socket}")]);
        }
        command.args(["system", "dial-stdio"]);
        command
    }
}

fn address(text: &str, port: u16) -> Result<(String, u16), Problem> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let wrong = || Problem(format!("{} is not HOST or HOST:PORT", escape_untrusted(text)));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').map_or(Ok(port), str::parse)),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse()),
            None => (text, Ok(port)),
        },
    };
    let port = port.map_err(|_| wrong())?;
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    plain.then(|| (host.to_owned(), port)).ok_or_else(wrong)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `ca.pem`, `cert.pem` and `key.pem` of a folder. Without the latter two the Engine must not ask who we are.
fn proofs(folder: &Path) -> Result<ClientConfig, Problem> {
    let (ca, cert, key) = (folder.join("ca.pem"), folder.join("cert.pem"), folder.join("key.pem"));
    let unread = |path: &Path, why: &dyn fmt::Display| Problem(format!("{} cannot be used: {why}", path.display()));
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Problem> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match all {
            Ok(all) if all.is_empty() => Err(unread(path, &"it holds no certificate")),
            Ok(all) => Ok(all),
            Err(error) => Err(unread(path, &error)),
        }
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(&ca)? {
        roots.add(authority).map_err(|error| unread(&ca, &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem(error.to_string()))?
        .with_root_certificates(roots);
    if !cert.exists() && !key.exists() {
        return Ok(config.with_no_client_auth());
    }
    let key_read = PrivateKeyDer::from_pem_file(&key).map_err(|error| unread(&key, &error))?;
    config
        .with_client_auth_cert(certificates(&cert)?, key_read)
        .map_err(|error| unread(&key, &error))
}

/// How a connection is made.
enum Dial {
    Tls {
        host: String,
        port: u16,
        name: ServerName<'static>,
        tls: TlsConnector,
        folder: PathBuf,
    },
    Ssh(Ssh),
    Plain {
        host: String,
        port: u16,
    },
}

/// A connection, whatever it goes over.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One request over one connection.
async fn ask(dial: &Dial, request: BollardRequest) -> Result<Response<Incoming>, Problem> {
    let said = Said::default();
    let io: Box<dyn Duplex> = match dial {
        Dial::Plain { host, port } => Box::new(tcp(host, *port).await?),
        Dial::Tls {
            host, port, name, tls, ..
        } => {
            let tcp = tcp(host, *port).await?;
            let secure = tls.connect(name.clone(), tcp).await;
            Box::new(secure.map_err(|error| dial.problem(&error))?)
        }
        Dial::Ssh(ssh) => Box::new(Piped::start(ssh, &said)?),
    };
    match send(io, request).await {
        Ok(response) => Ok(response),
        Err(error) if said.is_used() => Err(Problem(format!("{}: {}", dial.problem(&error), said.last().await))),
        Err(error) => Err(dial.problem(&error)),
    }
}

async fn send(io: Box<dyn Duplex>, request: BollardRequest) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    // Ends with its request; an upgraded one goes on in the hands of who asked.
    let mut connection = tokio::spawn(connection.with_upgrades());
    match sender.send_request(in_origin_form(request)).await {
        Ok(response) => Ok(response),
        // Who asked is told that it was in vain, the connection why: a refused certificate is read by it.
        Err(error) => match timeout(LAST_WORDS, &mut connection).await {
            Ok(Ok(Err(cause))) => Err(cause),
            _ => {
                connection.abort();
                Err(error)
            }
        },
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Problem> {
    let connected = TcpStream::connect((host, port)).await;
    let stream = connected.map_err(|error| Problem(format!("{host}:{port} cannot be connected to: {error}")))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// What a server expects of a request that is for itself.
fn in_origin_form(mut request: BollardRequest) -> BollardRequest {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    request
        .headers_mut()
        .insert(header::HOST, header::HeaderValue::from_static("engine"));
    request
}

fn told(problem: Problem) -> Error {
    Error::IOError {
        err: io::Error::other(problem),
    }
}

impl Dial {
    /// Whose fault it is, and what to do.
    fn problem(&self, error: &(dyn std::error::Error + 'static)) -> Problem {
        let chain = || {
            let mut words = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                words = format!("{words}: {cause}");
                source = cause.source();
            }
            words
        };
        match self {
            Self::Plain { host, port } => Problem(format!("{host}:{port} broke off: {}", chain())),
            Self::Ssh(ssh) => Problem(format!("ssh to {} gave no connection to an Engine", ssh.host)),
            Self::Tls { host, port, folder, .. } => Problem(match tls_error(error) {
                Some(error) => format!("{host}:{port}: {}", explain(error, host, folder)),
                None => format!("{host}:{port} broke off, or does not speak TLS: {}", chain()),
            }),
        }
    }
}

/// The error of TLS at the bottom of another one.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

fn explain(error: &rustls::Error, host: &str, folder: &Path) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the Engine's certificate has expired: whoever runs the Engine makes a new one".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the Engine's certificate is not valid yet: one of the two clocks is wrong".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "the Engine's certificate is not for {host}: use a name that it has, or have one made with this name"
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the Engine's certificate was not issued by the authority in {}: it is another Engine, or another ca.pem is needed",
                file("ca.pem")
            ),
            other => format!("the Engine's certificate is refused: {other}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => format!(
                "the Engine asks for a client certificate: put one and its key at {} and {}",
                file("cert.pem"),
                file("key.pem")
            ),
            AlertDescription::CertificateExpired => {
                format!(
                    "the Engine says that our certificate has expired: make a new {}",
                    file("cert.pem")
                )
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied => format!(
                "the Engine does not accept our certificate ({alert:?}): {} must be there and issued by the authority that it trusts",
                file("cert.pem")
            ),
            other => format!("the Engine ended the connection: {other:?}"),
        },
        other => other.to_string(),
    }
}

/// What ssh said on standard error.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Option<tokio::task::JoinHandle<Vec<u8>>>>>);

impl Said {
    fn is_used(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    async fn last(&self) -> String {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else {
            return String::new();
        };
        let bytes = timeout(LAST_WORDS, task).await;
        let bytes = bytes.ok().and_then(Result::ok).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let last = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing");
        escape_untrusted(last.trim())
    }
}

/// The streams of a process as one; it ends with them.
struct Piped {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl Piped {
    fn start(ssh: &Ssh, said: &Said) -> Result<Self, Problem> {
        let mut child = ssh
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Problem(format!("ssh cannot be started: {error}")))?;
        let (Some(input), Some(output), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Problem("ssh has no streams".to_owned()));
        };
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            let _ = (&mut stderr).take(SAID).read_to_end(&mut kept).await;
            // The rest is let through, so that ssh does not stand still.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            kept
        });
        *said.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(Self {
            input,
            output,
            _child: child,
        })
    }
}

impl AsyncRead for Piped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
