//! The service on one machine, without containers: Redis, RabbitMQ, API processes and workers as children of
//! this process, in one folder, on loopback alone. Whoever drops the fleet ends them all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{packages, sh};

/// How long a server may take to answer after its start.
const START: Duration = Duration::from_secs(60);

/// A child in a process group of its own.
pub(crate) struct Running {
    child: Child,
    /// Its log.
    pub(crate) log: PathBuf,
}

impl Running {
    /// Starts a command with its output appended to a log.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let shown = sh::shown(&command);
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("cannot share a log")?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        Ok(Self { child, log })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).context("cannot signal a child")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it and everything in its group.
    pub(crate) fn kill(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits; kills it when it takes too long. Returns whether it ended by itself.
    pub(crate) fn stop(&mut self, patience: Duration) -> bool {
        let _ = self.signal(Signal::TERM);
        let ended = wait_for(patience, || !self.is_alive());
        self.kill();
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks again and again until it is so, or patience is over.
pub(crate) fn wait_for(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port of loopback that nobody uses now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot tell the port")?.port())
}

fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_millis(200)).is_ok()
}

/// A Redis that keeps what it acknowledged.
pub(crate) struct Redis {
    folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) process: Running,
}

impl Redis {
    /// Starts one in a folder.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        packages::need(&[packages::REDIS], "the service's queue")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let port = free_port()?;
        let process = Self::process(folder, port)?;
        Ok(Self {
            folder: folder.to_owned(),
            port,
            process,
        })
    }

    fn process(folder: &Path, port: u16) -> Result<Running> {
        let mut command = sh::command("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--maxmemory-policy", "noeviction"])
            .arg("--dir")
            .arg(folder);
        let mut process = Running::start(command, folder.join("redis.log"))?;
        let ready = wait_for(START, || {
            !process.is_alive()
                || sh::output(sh::command("redis-cli").args(["-p", &port.to_string(), "ping"]))
                    .is_ok_and(|answer| answer.trim() == "PONG")
        });
        if !ready || !process.is_alive() {
            bail!("Redis did not start; see {}", process.log.display());
        }
        Ok(process)
    }

    /// As after a loss of power: killed, then started on what is on disk.
    pub(crate) fn crash_and_restart(&mut self, away: Duration) -> Result<()> {
        self.process.kill();
        std::thread::sleep(away);
        self.process = Self::process(&self.folder, self.port)?;
        Ok(())
    }

    /// For settings.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// A RabbitMQ node of our own.
pub(crate) struct Rabbit {
    folder: PathBuf,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    pub(crate) process: Running,
}

impl Rabbit {
    /// Starts one in a folder.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        packages::need(&[packages::RABBITMQ], "the service's dispatcher")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // The broker's own user must be able to write there when it steps down from root.
        let (port, dist_port, epmd_port) = (free_port()?, free_port()?, free_port()?);
        let process = Self::process(folder, port, dist_port, epmd_port)?;
        Ok(Self {
            folder: folder.to_owned(),
            port,
            dist_port,
            epmd_port,
            process,
        })
    }

    fn process(folder: &Path, port: u16, dist_port: u16, epmd_port: u16) -> Result<Running> {
        // The script of the package steps down to another user; the server's own does not.
        let server = [
            "/usr/lib/rabbitmq/bin/rabbitmq-server",
            "/usr/lib/rabbitmq/lib/rabbitmq_server/sbin/rabbitmq-server",
        ]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
        .or_else(|| sh::find("rabbitmq-server"))
        .context("rabbitmq-server is not there")?;
        let mut command = Command::new(server);
        command
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", format!("seatrial{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", dist_port.to_string())
            .env("ERL_EPMD_PORT", epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"));
        fs::write(folder.join("plugins"), "[].\n").context("cannot write the list of plugins")?;
        let mut process = Running::start(command, folder.join("rabbitmq.log"))?;
        if !wait_for(START, || !process.is_alive() || answers(port)) || !process.is_alive() {
            bail!("RabbitMQ did not start; see {}", process.log.display());
        }
        Ok(process)
    }

    /// Killed, then started on what is on disk.
    pub(crate) fn crash_and_restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = Self::process(&self.folder, self.port, self.dist_port, self.epmd_port)?;
        Ok(())
    }

    /// For settings.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.process.kill();
        // Its port mapper left the group; it is ours by its port.
        let _ = sh::attempt(
            sh::command("epmd")
                .args(["-port", &self.epmd_port.to_string(), "-kill"])
                .env("ERL_EPMD_RELAXED_COMMAND_CHECK", "1"),
        );
    }
}

/// How the processes of the product are started.
#[derive(Clone)]
pub(crate) struct Product {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// Configuration file, when there is one.
    pub(crate) config: Option<PathBuf>,
    /// Settings in the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Where logs go.
    pub(crate) logs: PathBuf,
}

impl Product {
    /// A command of it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.args(args).env_remove("SEATRIAL_CONFIG").envs(&self.env);
        command
    }

    /// An API process that answers; its address.
    pub(crate) fn api(&self, name: &str, port: u16, args: &[&str]) -> Result<Running> {
        let mut command = self.command(args);
        command.env("SEATRIAL__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        let mut process = Running::start(command, self.logs.join(format!("{name}.log")))?;
        if !wait_for(START, || !process.is_alive() || answers(port)) || !process.is_alive() {
            bail!("the API did not start; see {}", process.log.display());
        }
        Ok(process)
    }

    /// A worker.
    pub(crate) fn worker(&self, name: &str, args: &[&str]) -> Result<Running> {
        let mut all = vec!["worker"];
        all.extend(args);
        Running::start(self.command(&all), self.logs.join(format!("{name}.log")))
    }
}
