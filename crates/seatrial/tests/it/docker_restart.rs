//! The Engine is restarted while a job is in it: the job is tried again and ends well, nothing is left.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    docker_points::forget,
    house::{House, until},
    support::{QUICK, assert_clean, dev_config, docker, job, on_engine},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The dev Engine's own process, by its pidfile. No other Engine is ever touched.
pub(crate) struct Daemon {
    pid: i32,
    pub(crate) words: Vec<String>,
    folder: PathBuf,
}

impl Daemon {
    pub(crate) fn running() -> Self {
        let config: toml::Table = fs::read_to_string(dev_config()).unwrap().parse().unwrap();
        let host = config["docker"]["host"].as_str().unwrap().to_owned();
        let folder = PathBuf::from(host.strip_prefix("unix://").unwrap());
        let folder = folder.parent().unwrap().to_owned();
        let pid: i32 = fs::read_to_string(folder.join("docker.pid"))
            .expect("the Engine is not one that `make setup` started")
            .trim()
            .parse()
            .unwrap();
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let words: Vec<String> = String::from_utf8(words)
            .unwrap()
            .split_terminator('\0')
            .map(str::to_owned)
            .collect();
        assert!(words[0].ends_with("dockerd") && words.contains(&host), "{words:?}");
        Self { pid, words, folder }
    }

    /// Ends it in order, as a package's update does, and starts it as it was started.
    fn restart(self) {
        let words = self.words.clone();
        self.restart_as(&words);
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// The same with another command line.
    pub(crate) fn restart_as(self, words: &[String]) {
        let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let process = format!("/proc/{}", self.pid);
        until("the Engine is down", PATIENCE, || !fs::exists(&process).unwrap());
        let log = File::options()
            .append(true)
            .open(self.folder.join("dockerd.log"))
            .unwrap();
        // A session of its own: it outlives this test.
        let started = Command::new("setsid")
            .arg("--fork")
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status();
        assert!(started.unwrap().success());
        until("the Engine is up again", PATIENCE, || {
            let host = format!("unix://{}", self.socket().display());
            let asked = Command::new("docker").args(["--host", &host, "version"]).output();
            asked.unwrap().status.success()
        });
    }
}

/// A run that says "here" in a stage, or has entered it.
fn begun(folder: &tempfile::TempDir, stage: &str, text: &str) -> Child {
    let (dockerfile, points) = (folder.path().join("Dockerfile"), folder.path().join("points"));
    fs::write(&dockerfile, text).unwrap();
    let mut child = on_engine()
        .args(QUICK)
        .arg(&dockerfile)
        .env("SEATRIAL_POINTS", &points)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    if stage == "scan" {
        until("the scan has begun", PATIENCE, || {
            fs::read_to_string(&points)
                .unwrap_or_default()
                .contains("walk/scan/after")
        });
    } else {
        let here = format!("{stage} | here");
        assert!(lines.any(|line| line.unwrap().contains(&here)), "it is in {stage}");
    }
    std::thread::spawn(move || lines.for_each(drop)); // keep the pipe open and empty
    child
}

const RESULT: &str = "echo '{\"perf\": 0.5}' > /data/perf.json";

#[test]
fn docker_an_engine_that_restarts_costs_a_run_one_try() {
    for (stage, text) in [
        ("build", format!("FROM busybox\nRUN echo here; sleep 3\nCMD {RESULT}\n")),
        ("scan", format!("FROM busybox\nRUN echo there\nCMD {RESULT}\n")),
        ("run", format!("FROM busybox\nCMD echo here; sleep 3; {RESULT}\n")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let child = begun(&folder, stage, &text);
        Daemon::running().restart();
        let output = child.wait_with_output().unwrap();
        let job = job(&output);
        assert_eq!(
            (output.status.code(), job["attempt"].as_u64()),
            (Some(0), Some(2)),
            "mid-{stage}: {job:#}"
        );
        assert_clean(&format!("a restart mid-{stage}"));
    }
}

#[test]
fn docker_a_worker_outlives_its_engine() {
    let mut house = House::new();
    house.set("SEATRIAL__SCAN__SBOM", "false");
    let (_serve, base) = house.serve("serve", &["--no-worker", "--fixture-db"]);
    let mut worker = house.worker("worker");
    let id = house.submit(&base, &format!("FROM busybox\nCMD echo here; sleep 3; {RESULT}\n"));
    until("the guest runs", PATIENCE, || {
        let (_, log) = house.get(&format!("{base}/v1/jobs/{id}/logs?stage=run"));
        log.contains("here")
    });
    Daemon::running().restart();
    let job = house.ended(&base, &id, Duration::from_secs(120));
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", worker.lines());
    worker.signal("TERM");
    assert_eq!(worker.end(PATIENCE), Some(0), "{}", worker.lines());
    forget(&house.data());
    assert!(!docker(&["images"]).is_empty());
    assert_clean("a restart under a worker");
}
