//! A RabbitMQ for a test.

use std::{fs, io, path::PathBuf, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    Certificates, Guarded,
    guard::{free_port, tail},
};

/// How long it may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Not the one in the path, which insists on a user of its own.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A RabbitMQ server with a port mapper of its own.
pub struct RabbitServer {
    folder: TempDir,
    port: u16,
    tls_port: u16,
    mapper_port: u16,
    distribution_port: u16,
    certificates: Certificates,
    running: Option<Guarded>,
    _mapper: Guarded,
}

impl RabbitServer {
    /// Starts one. It takes some seconds.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("seatrial-rabbit-").tempdir()?;
        let certificates = Certificates::make(&folder.path().join("tls"))?;
        let mapper_port = free_port()?;
        let mapper = ["epmd", "-port", &mapper_port.to_string(), "-address", "127.0.0.1"].map(str::to_owned);
        let home = [("HOME".to_owned(), folder.path().display().to_string())];
        let mut server = Self {
            port: free_port()?,
            tls_port: free_port()?,
            mapper_port,
            distribution_port: free_port()?,
            certificates,
            running: None,
            _mapper: Guarded::start(&mapper, &home, &folder.path().join("epmd.log"))?,
            folder,
        };
        let config = format!(
            "listeners.tcp.default = 127.0.0.1:{}\n\
             listeners.ssl.default = 127.0.0.1:{}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             ssl_options.verify = verify_none\n\
             disk_free_limit.absolute = 1MB\n\
             log.console = false\n",
            server.port,
            server.tls_port,
            server.certificates.ca.display(),
            server.certificates.cert.display(),
            server.certificates.key.display(),
        );
        fs::write(server.inside("rabbitmq.conf"), config)?;
        fs::write(server.inside("enabled_plugins"), "[].\n")?;
        server.start_again().await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Where it listens, encrypted.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("amqps://guest:guest@localhost:{}/%2f", self.tls_port)
    }

    /// The certificates that it shows.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// It did not.
    pub async fn stop(&mut self) -> io::Result<()> {
        match self.running.take() {
            Some(running) => running.end(PATIENCE).await,
            None => Ok(()),
        }
    }

    /// Holds it: connections stay, answers do not come.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a held one go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let running = self.running.as_ref();
        running
            .ok_or_else(|| io::Error::other("it does not run"))?
            .signal(signal)
    }

    /// Starts it again with what is in its folder; returns when it answers.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start_again(&mut self) -> io::Result<()> {
        self.running = None;
        let folder = |name: &str| self.inside(name).display().to_string();
        let environment: Vec<(String, String)> = [
            ("HOME", folder("")),
            ("RABBITMQ_NODENAME", format!("st{}@localhost", self.port)),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", self.distribution_port.to_string()),
            ("ERL_EPMD_PORT", self.mapper_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_MNESIA_BASE", folder("mnesia")),
            ("RABBITMQ_LOG_BASE", folder("log")),
            ("RABBITMQ_SCHEMA_DIR", folder("schema")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", folder("generated")),
            ("RABBITMQ_CONFIG_FILE", folder("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", folder("advanced.config")),
            ("RABBITMQ_CONF_ENV_FILE", folder("rabbitmq-env.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", folder("enabled_plugins")),
            ("RABBITMQ_PID_FILE", folder("pid")),
            // Small: it shares the machine with the tests.
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let log = self.inside("server.log");
        let running = Guarded::start(&[SERVER.to_owned()], &environment, &log)?;
        let begun = Instant::now();
        while !self.answers().await {
            if !running.is_alive() || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("RabbitMQ did not start:\n{}", tail(&log))));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.running = Some(running);
        Ok(())
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// It greets: the listener is the last that it starts.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok(answer[0] == 1)
        };
        matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
    }
}
