//! Processes that share a folder, and are killed while they write.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use seatrial_core::{
    id::JobId,
    testing::vault::{Ring, VaultRig as _},
    vault::{BlobKind, BlobRef, Vault as _, WrappedKey},
};
use seatrial_store::vault::{FolderVault, Ttl, folder::Folder};

use super::Rig;

/// Names the folder to the process that writes into it.
const FOLDER: &str = "SEATRIAL_TEST_VAULT";
/// Short ones and one that becomes a file.
const PARTS: [(BlobKind, usize); 4] = [
    (BlobKind::Dockerfile, 100),
    (BlobKind::Admission, 2_000),
    (BlobKind::Submission, 30),
    (BlobKind::Context, 70_000),
];

/// This program again, as a process that writes; gone with the test, also when that is killed.
struct Writer(Child);

impl Writer {
    fn start(rig: &Rig) -> Self {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "vault::folder::crash::a_writer_of_another_process",
                "--nocapture",
            ])
            .env(FOLDER, &rig.root)
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Kills it in the middle of its work; everything that it was told to be durable until then.
    fn acknowledged(mut self, at_least: usize) -> Vec<String> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        for line in lines.map_while(Result::ok) {
            told.extend(line.strip_prefix("PUT ").map(str::to_owned));
            if told.len() == at_least {
                self.0.kill().unwrap(); // and what it had said before
            }
        }
        told
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn part(kind: BlobKind, len: usize) -> Vec<u8> {
    vec![kind as u8; len]
}

/// Does nothing unless [`Writer`] asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_of_another_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Folder::open(folder.as_ref(), Ttl::default()).unwrap();
    let vault = std::sync::Arc::new(FolderVault::new(folder, super::super::ring(Ring::Ours)));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let vault = vault.clone();
        writers.spawn(async move {
            for _ in 0..10_000 {
                let job = JobId::fresh();
                let key = vault.new_key(job).unwrap();
                let bytes = PARTS.map(|(kind, len)| part(kind, len));
                let parts: Vec<_> = PARTS
                    .iter()
                    .zip(&bytes)
                    .map(|((kind, _), bytes)| (*kind, &**bytes))
                    .collect();
                let blobs = vault.put_all(job, &key, &parts).await.unwrap();
                let told = serde_json::to_string(&(job, key, blobs)).unwrap();
                std::io::stdout().write_all(format!("PUT {told}\n").as_bytes()).unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_killed_processes() {
    let rig = Rig::new();
    let vault = rig.vault(Ring::Ours).await;
    let mut told = Vec::new();
    for round in 1..=3 {
        // Both at once, and we as the third.
        let writers = [Writer::start(&rig), Writer::start(&rig)];
        let reading = writers.map(|writer| std::thread::spawn(move || writer.acknowledged(12 + round)));
        for reading in reading {
            let job = JobId::fresh();
            let key = vault.new_key(job).unwrap();
            let blob = vault.put(job, &key, BlobKind::Log, b"ours").await.unwrap();
            let lines = tokio::task::spawn_blocking(move || reading.join().unwrap())
                .await
                .unwrap();
            assert!(lines.len() >= 12 + round, "{lines:?}");
            told.extend(lines);
            assert_eq!(vault.get(job, &key, BlobKind::Log, &blob).await.unwrap(), b"ours");
        }
    }
    let fresh = rig.vault(Ring::Ours).await;
    for line in told {
        let (job, key, blobs): (JobId, WrappedKey, Vec<BlobRef>) = serde_json::from_str(&line).unwrap();
        let named: Vec<_> = PARTS.iter().map(|(kind, _)| *kind).zip(&blobs).collect();
        let back = fresh.get_all(job, &key, &named).await.unwrap();
        assert!(back == PARTS.map(|(kind, len)| part(kind, len)));
    }
    let whole: String = rig
        .table()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
}
