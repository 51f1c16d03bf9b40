//! A server that does not outlive whoever started it.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::{Instant, sleep};

/// Starts the program in a group of its own, says its number, and ends the group when its own input ends:
/// that happens also when this process is killed.
const WATCH: &str = r#"
setsid "$@" </dev/null >>"$SEATRIAL_TEST_LOG" 2>&1 &
echo $!
read -r _
kill -s KILL -- -$! 2>/dev/null
wait
"#;

/// A running server and its watchman.
pub struct Guarded {
    watchman: Child,
    pid: Pid,
}

impl Guarded {
    /// Starts it. What it says goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &[String], environment: &[(String, String)], log: &Path) -> io::Result<Self> {
        File::options().create(true).append(true).open(log)?;
        let mut watchman = Command::new("sh")
            .args(["-c", WATCH, "watchman"])
            .args(command)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .env("SEATRIAL_TEST_LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Whoever ends the test with its whole group leaves the watchman to its work.
            .process_group(0)
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = watchman.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the watchman said no process number"))?;
        Ok(Self { watchman, pid })
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // Its watchman does not wait for it, so a dead one stays as a zombie.
        fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z")))
    }

    /// Sends a signal to it and to what it started.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        kill_process_group(self.pid, signal)?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It did not end in time; then it is killed.
    pub async fn end(self, patience: Duration) -> io::Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() > patience {
                return Err(io::Error::other("the server did not end; it was killed"));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.watchman.stdin.take());
        let _ = self.watchman.wait();
    }
}

/// A port that nobody uses, below those that the system gives to clients: a client that connects again and
/// again to one of those can end up connected to itself.
///
/// # Errors
/// None was found.
pub fn free_port() -> io::Result<u16> {
    for _ in 0..200 {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let port = 16_000 + u16::from_be_bytes(random) % 16_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port"))
}

/// The end of a log, for a message.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
