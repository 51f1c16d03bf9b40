//! The service as its operator starts it: real processes, each with a log, all ended with the test.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{on_engine, root, seatrial};

/// A process of the product.
pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Process {
    /// Starts a command; its output goes to a log.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Kills it as the kernel would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end; its exit code.
    pub(crate) fn end(&mut self, patience: Duration) -> Option<i32> {
        let mut code = None;
        until("the process ends", patience, || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.and_then(|status| status.code())
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sockets on which it listens, as the kernel names them.
    pub(crate) fn listens(&self) -> Vec<String> {
        let of_process = format!("/proc/{}", self.child.id());
        let sockets: Vec<String> = std::fs::read_dir(format!("{of_process}/fd"))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|target| {
                Some(
                    target
                        .to_str()?
                        .strip_prefix("socket:[")?
                        .trim_end_matches(']')
                        .to_owned(),
                )
            })
            .collect();
        let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("{of_process}/net/{table}")));
        let rows = tables.iter().flatten().flat_map(|table| table.lines());
        // Columns: number, local, remote, state (0A listens), …, inode.
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>())
            .filter(|row| row.get(3) == Some(&"0A") && sockets.iter().any(|inode| row.get(9) == Some(&inode.as_str())))
            .map(|row| row[1].to_owned())
            .collect()
    }

    pub(crate) fn lines(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks until it is so; fails with a sentence when it never is.
pub(crate) fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < end, "it never was so within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A place for one service: data folder, settings, address.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) env: Vec<(String, String)>,
    client: reqwest::blocking::Client,
}

impl House {
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let env = [
            ("SEATRIAL__DATA_DIR", data.to_str().unwrap()),
            ("SEATRIAL__LOG__LEVEL", "info"),
            ("SEATRIAL__LOG__FORMAT", "json"),
            ("SEATRIAL__WORKER__LEASE", "5s"),
            ("SEATRIAL__SCAN__SBOM", "true"),
            ("SEATRIAL__SCAN__CONFIG_CHECKS", "false"),
        ];
        Self {
            folder,
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            client: reqwest::blocking::Client::new(),
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn with_env(&self, mut command: Command) -> Command {
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// An API process with a free port; its base URL.
    pub(crate) fn serve(&self, name: &str, args: &[&str]) -> (Process, String) {
        let mut command = self.with_env(if args.contains(&"--executor") || args.contains(&"--no-worker") {
            seatrial()
        } else {
            on_engine()
        });
        command
            .arg("serve")
            .args(args)
            .env("SEATRIAL__SERVER__LISTEN", "127.0.0.1:0");
        let mut process = Process::start(command, self.log(name));
        let mut base = None;
        until("the API says where it serves", Duration::from_secs(60), || {
            assert!(
                process.child.try_wait().unwrap().is_none(),
                "the API ended: {}",
                process.lines()
            );
            base = process.lines().lines().find_map(|line| {
                let url = line.strip_prefix("Seatrial serves ")?.split(' ').next()?;
                Some(url.to_owned())
            });
            base.is_some()
        });
        (process, base.unwrap())
    }

    /// A worker on the dev Engine with the fixture database.
    pub(crate) fn worker(&self, name: &str) -> Process {
        self.worker_told(name, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn worker_told(&self, name: &str, told: &[(&str, &str)]) -> Process {
        let mut command = self.with_env(on_engine());
        command.args(["worker", "--fixture-db"]).envs(told.iter().copied());
        Process::start(command, self.log(name))
    }

    /// A worker whose tries do nothing.
    pub(crate) fn noop(&self, name: &str, args: &[&str]) -> Process {
        let mut command = self.with_env(seatrial());
        command.args(["worker", "--executor", "noop"]).args(args);
        Process::start(command, self.log(name))
    }

    /// A client command.
    pub(crate) fn client(&self, base: &str) -> Command {
        let mut command = seatrial();
        command.env("SEATRIAL_SERVER", base).current_dir(root());
        command
    }

    /// Submits JSON; status and body.
    pub(crate) fn post(&self, url: &str, body: &Value) -> (u16, Value) {
        let answer = self
            .client
            .post(url)
            .body(body.to_string())
            .header("content-type", "application/json")
            .send()
            .unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_str(&answer.text().unwrap()).unwrap_or(Value::Null),
        )
    }

    /// Submits a Dockerfile that must be taken; its id.
    pub(crate) fn submit(&self, base: &str, dockerfile: &str) -> String {
        let (status, job) = self.post(
            &format!("{base}/v1/jobs"),
            &serde_json::json!({"dockerfile": dockerfile}),
        );
        assert_eq!(status, 202, "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    /// Status and text.
    pub(crate) fn get(&self, url: &str) -> (u16, String) {
        let answer = self.client.get(url).send().unwrap();
        (answer.status().as_u16(), answer.text().unwrap_or_default())
    }

    /// The same, or nothing when nobody listens.
    pub(crate) fn try_get(&self, url: &str) -> Option<(u16, String)> {
        let answer = self.client.get(url).send().ok()?;
        Some((answer.status().as_u16(), answer.text().ok()?))
    }

    /// A job's document; a part of the service that restarts is waited for.
    pub(crate) fn job(&self, base: &str, id: &str) -> Value {
        let mut answer = (503, String::new());
        until(&format!("{id} can be read"), Duration::from_secs(60), || {
            answer = self.get(&format!("{base}/v1/jobs/{id}"));
            answer.0 != 503
        });
        assert_eq!(answer.0, 200, "{}", answer.1);
        serde_json::from_str(&answer.1).unwrap()
    }

    /// The job when it is over.
    pub(crate) fn ended(&self, base: &str, id: &str, patience: Duration) -> Value {
        let mut job = Value::Null;
        until(&format!("{id} is over"), patience, || {
            job = self.job(base, id);
            !matches!(job["state"].as_str(), Some("queued" | "running"))
        });
        job
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// Whether any file beneath a folder holds these bytes.
pub(crate) fn any_file_holds(folder: &Path, marker: &[u8]) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return any_file_holds(&path, marker);
        }
        std::fs::read(&path).is_ok_and(|bytes| bytes.windows(marker.len()).any(|part| part == marker))
    })
}
