//! A Redis for a test.

use std::{io, path::Path, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    Guarded,
    guard::{free_port, tail},
};

/// How long it may take to start: it reads its file, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis server. It acknowledges what is on disk, unless settings say otherwise.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    running: Option<Guarded>,
}

impl RedisServer {
    /// Starts one as the product needs it.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with some settings changed or added, as in `redis.conf`.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start_with(settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut all: Vec<(String, String)> = [
            ("bind", "127.0.0.1"),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("maxmemory-policy", "noeviction"),
            ("save", ""),
            ("daemonize", "no"),
        ]
        .iter()
        .filter(|(key, _)| settings.iter().all(|(changed, _)| changed != key))
        .chain(settings)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
        let folder = tempfile::Builder::new().prefix("seatrial-redis-").tempdir()?;
        all.push(("dir".to_owned(), folder.path().display().to_string()));
        let mut server = Self {
            folder,
            port: free_port()?,
            settings: all,
            running: None,
        };
        // Somebody else may take the port first.
        for _ in 0..3 {
            match server.start_again().await {
                Ok(()) => return Ok(server),
                Err(_) => server.port = free_port()?,
            }
        }
        server.start_again().await.map(|()| server)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens, for a user.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(Guarded::pid)
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

    /// Starts it again on its port, with what is in its folder; returns when it answers.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start_again(&mut self) -> io::Result<()> {
        self.running = None;
        let mut command = vec!["redis-server".to_owned(), "--port".to_owned(), self.port.to_string()];
        for (key, value) in &self.settings {
            command.extend([format!("--{key}"), value.clone()]);
        }
        let log = self.folder.path().join("redis.log");
        let running = Guarded::start(&command, &[], &log)?;
        let begun = Instant::now();
        while !self.answers().await {
            if !running.is_alive() || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("Redis did not start:\n{}", tail(&log))));
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.running = Some(running);
        Ok(())
    }

    /// It answers, if only that it does not know us.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok(answer)
        };
        matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(answer)) if answer.starts_with(b"+PONG") || answer == *b"-NOAUTH")
    }
}
