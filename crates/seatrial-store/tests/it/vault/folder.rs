mod crash;
mod small;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use rustix::mount::{MountFlags, UnmountFlags};
use seatrial_core::{
    id::JobId,
    testing::vault::{Ring, VaultRig, a_full_vault_shows_nothing_half_written},
    vault::{BlobKind, BlobRef, Vault, VaultError, WrappedKey},
};
use seatrial_store::vault::{FolderVault, OpenError, Ttl, folder::Folder};

seatrial_core::vault_contract!(Rig::new());

struct Rig {
    /// Keeps the folder.
    _parent: tempfile::TempDir,
    root: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("vault");
        Self { _parent: parent, root }
    }

    fn job_folder(&self, job: JobId) -> PathBuf {
        let short = job.short();
        self.root.join(&short[24..]).join(short)
    }

    fn path(&self, job: JobId, kind: BlobKind, name: &str) -> PathBuf {
        let kind = serde_json::to_value(kind).unwrap();
        self.job_folder(job).join(format!("{name}.{}", kind.as_str().unwrap()))
    }

    /// The file of small blobs.
    fn table(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.root.join("small.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db
    }

    /// Everything but the folders and files that are always there.
    fn paths(&self) -> Vec<PathBuf> {
        let entries = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        if !self.root.exists() {
            return Vec::new();
        }
        let shards = entries(&self.root).into_iter().filter(|path| path.is_dir());
        let jobs = shards.flat_map(|shard| entries(&shard));
        jobs.flat_map(|job| [vec![job.clone()], entries(&job)].concat())
            .collect()
    }

    async fn filled(&self, bytes: &[u8]) -> (Arc<dyn Vault>, JobId, WrappedKey, BlobRef) {
        let vault = self.vault(Ring::Ours).await;
        let job = JobId::fresh();
        let key = vault.new_key(job).unwrap();
        let blob = vault.put(job, &key, BlobKind::Log, bytes).await.unwrap();
        (vault, job, key, blob)
    }
}

#[async_trait]
impl VaultRig for Rig {
    async fn vault(&self, ring: Ring) -> Arc<dyn Vault> {
        let folder = Folder::open(&self.root, Ttl::default()).unwrap();
        Arc::new(FolderVault::new(folder, super::ring(ring)))
    }

    async fn raw(&self, job: JobId, kind: BlobKind, name: &str) -> Vec<u8> {
        let path = self.path(job, kind, name);
        if path.exists() {
            return fs::read(path).unwrap();
        }
        let read = "SELECT sealed FROM blobs WHERE job = ? AND name = ?";
        let sealed = self
            .table()
            .query_row(read, [job.short(), name.into()], |row| row.get(0));
        sealed.unwrap()
    }

    async fn plant(&self, job: JobId, kind: BlobKind, name: &str, sealed: Vec<u8>) {
        let kind = serde_json::to_value(kind).unwrap();
        let write = "UPDATE blobs SET sealed = ?, kind = ? WHERE job = ? AND name = ?";
        let values = rusqlite::params![sealed, kind.as_str(), job.short(), name];
        if self.table().execute(write, values).unwrap() == 0 {
            let write = "INSERT INTO blobs (sealed, kind, job, name, written) VALUES (?, ?, ?, ?, unixepoch() * 1000)";
            self.table().execute(write, values).unwrap();
        }
    }

    async fn everything(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for path in self.paths() {
            all.push(path.strip_prefix(&self.root).unwrap().to_str().unwrap().into());
            if path.is_file() {
                all.push(fs::read(path).unwrap());
            }
        }
        let db = self.table();
        let mut read = db
            .prepare("SELECT job || name || kind || written, sealed FROM blobs")
            .unwrap();
        let rows = read.query_map([], |row| Ok([row.get::<_, String>(0)?.into_bytes(), row.get(1)?]));
        all.extend(rows.unwrap().flat_map(Result::unwrap));
        all
    }

    async fn age(&self, by: Duration) {
        for path in self.paths() {
            let written = fs::metadata(&path).unwrap().modified().unwrap();
            set_written(&path, written - by);
        }
        let by = i64::try_from(by.as_millis()).unwrap();
        self.table()
            .execute("UPDATE blobs SET written = written - ?", [by])
            .unwrap();
    }
}

/// Too long for a row.
fn large() -> Vec<u8> {
    vec![7; 100_000]
}

fn set_written(path: &Path, at: SystemTime) {
    fs::File::open(path).unwrap().set_modified(at).unwrap();
}

#[tokio::test]
async fn nobody_else_can_look_into_it() {
    let rig = Rig::new();
    rig.filled(&large()).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&rig.root), 0o700);
    let paths = rig.paths();
    assert_eq!(paths.len(), 2);
    assert_eq!(mode(paths[0].parent().unwrap()), 0o700);
    assert_eq!(mode(&paths[0]), 0o700);
    assert_eq!(mode(&paths[1]), 0o600);
}

#[test]
fn a_folder_that_is_not_ours_alone_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| match Folder::open(path, Ttl::default()) {
        Err(OpenError::Unfit(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was taken", path.display()),
    };
    let open = parent.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(refusal(&open).ends_with("is open to others (mode 750): chmod 700"));

    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
    let link = parent.path().join("link");
    symlink(&open, &link).unwrap();
    assert!(refusal(&link).ends_with("is a link or not a folder"));
    let file = parent.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(refusal(&file).ends_with("is a link or not a folder"));

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&open, Some(4711), None).unwrap();
        assert!(refusal(&open).ends_with("belongs to user 4711, and this is user 0"));
    } else {
        eprintln!("NOT CHECKED: a folder of another owner, because only root can make one");
    }
    let nowhere = parent.path().join("no/such/parent");
    assert!(matches!(
        Folder::open(&nowhere, Ttl::default()),
        Err(OpenError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn no_link_and_no_pipe_is_followed() {
    let rig = Rig::new();
    let (vault, job, key, blob) = rig.filled(&large()).await;
    let path = rig.path(job, BlobKind::Log, &blob.name);
    let elsewhere = rig.root.parent().unwrap().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let end = vault.get(job, &key, BlobKind::Log, &blob).await;
    assert!(matches!(end, Err(VaultError::Tampered { .. })), "{end:?}");
    vault.delete(job, &blob).await.unwrap();
    assert!(elsewhere.exists() && !path.exists());

    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let end = vault.get(job, &key, BlobKind::Log, &blob).await;
    assert!(matches!(end, Err(VaultError::Tampered { .. })), "{end:?}");

    // A link in place of the job's folder: nothing is read, written or removed through it.
    let kept = rig.root.parent().unwrap().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::rename(&elsewhere, kept.join(path.file_name().unwrap())).unwrap();
    fs::remove_dir_all(rig.job_folder(job)).unwrap();
    symlink(&kept, rig.job_folder(job)).unwrap();
    let end = vault.get(job, &key, BlobKind::Log, &blob).await;
    assert!(matches!(end, Err(VaultError::Unreachable { .. })), "{end:?}");
    assert!(vault.put(job, &key, BlobKind::Log, &large()).await.is_err());
    assert!(vault.erase(job).await.is_err());
    assert_eq!(vault.sweep(Duration::ZERO, 10).await.unwrap(), []);
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
}

#[tokio::test]
async fn what_a_crash_left_is_not_readable_and_goes_when_its_writer_must_be_gone() {
    let rig = Rig::new();
    let (vault, job, key, blob) = rig.filled(&large()).await;
    let path = rig.path(job, BlobKind::Log, &blob.name);
    let unfinished = rig.job_folder(job).join(format!(".new-{}", blob.name));
    fs::rename(&path, &unfinished).unwrap();
    let end = vault.get(job, &key, BlobKind::Log, &blob).await;
    assert!(matches!(end, Err(VaultError::Missing { .. })), "{end:?}");
    vault.sweep(Duration::ZERO, 10).await.unwrap();
    assert!(unfinished.exists(), "its writer may still be there");
    rig.age(Duration::from_secs(3601)).await;
    vault.sweep(Duration::ZERO, 10).await.unwrap();
    assert_eq!(rig.paths(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_sweep_leaves_alone_what_it_does_not_know() {
    let rig = Rig::new();
    let (vault, job, ..) = rig.filled(&large()).await;
    fs::create_dir_all(rig.root.join("00")).unwrap();
    let foreign = [
        rig.root.join("README"),
        rig.root.join("00/README"),
        rig.job_folder(job).join("01ARZ3NDEKTSV4RRFFQ69G5FAV.newer_kind"),
    ];
    for path in &foreign {
        fs::write(path, b"").unwrap();
        set_written(path, SystemTime::UNIX_EPOCH);
    }
    fs::create_dir(rig.root.join("00/not-a-job")).unwrap();
    assert_eq!(vault.sweep(Duration::from_secs(3600), 10).await.unwrap(), [job]);
    assert!(foreign.iter().all(|path| path.exists()));
    assert!(rig.root.join("00/not-a-job").exists());
    vault.erase(job).await.unwrap();
    assert!(!rig.job_folder(job).exists());
}

#[tokio::test]
async fn a_blob_from_the_future_is_young() {
    let rig = Rig::new();
    let (vault, job, key, blob) = rig.filled(&large()).await;
    let path = rig.path(job, BlobKind::Log, &blob.name);
    set_written(&path, SystemTime::now() + Duration::from_secs(1 << 30));
    assert_eq!(vault.sweep(Duration::from_secs(1), 10).await.unwrap(), []);
    assert!(vault.get(job, &key, BlobKind::Log, &blob).await.is_ok());
}

#[tokio::test]
async fn a_folder_that_was_removed_does_not_answer() {
    let rig = Rig::new();
    let (vault, job, key, _) = rig.filled(&large()).await;
    fs::remove_dir_all(&rig.root).unwrap();
    fs::create_dir(&rig.root).unwrap(); // another one with its name
    assert!(vault.ping().await.is_err_and(|error| error.is_transient()));
    let end = vault.put(job, &key, BlobKind::Log, &large()).await;
    assert!(end.is_err_and(|error| error.is_transient()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_while_others_sweep_and_erase() {
    let rig = Rig::new();
    let (vault, erased, erased_key, _) = rig.filled(&large()).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8_u8 {
        let vault = Arc::clone(&vault);
        let erased_key = erased_key.clone();
        writers.spawn(async move {
            for round in 0..25_u8 {
                let job = JobId::fresh();
                let key = vault.new_key(job).unwrap();
                let bytes = [number, round].repeat(40_000);
                let blob = vault.put(job, &key, BlobKind::Log, &bytes).await.unwrap();
                assert!(vault.get(job, &key, BlobKind::Log, &blob).await.unwrap() == bytes);
                vault.delete(job, &blob).await.unwrap(); // leaves a folder for the sweep
                // May fail while it is erased again and again, but only so that another try helps.
                let end = vault.put(erased, &erased_key, BlobKind::Log, &large()).await;
                assert!(end.is_ok() || end.is_err_and(|error| error.is_transient()));
            }
        });
    }
    while !writers.is_empty() {
        vault.sweep(Duration::from_secs(3600), 10).await.unwrap();
        let end = vault.erase(erased).await;
        assert!(end.is_ok() || end.is_err_and(|error| error.is_transient()));
        while let Some(done) = writers.try_join_next() {
            done.unwrap();
        }
    }
    vault.erase(erased).await.unwrap();
    assert_eq!(rig.paths().len(), 200, "somebody may want them still");
    rig.age(Duration::from_secs(3601)).await;
    vault.sweep(Duration::from_secs(3600), 10).await.unwrap();
    assert_eq!(rig.paths(), Vec::<PathBuf>::new());
}

/// A file system of 1 MiB, gone with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where none can be mounted.
    fn mount() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let options = c"size=1m,mode=700";
        let mounted = rustix::mount::mount("tmpfs", disk.0.path(), "tmpfs", MountFlags::empty(), options);
        if let Err(error) = mounted {
            eprintln!("NOT CHECKED: a full disk, because none can be mounted here: {error}");
            return None;
        }
        Some(disk)
    }

    fn rig(&self) -> Rig {
        Rig {
            root: self.0.path().join("vault"),
            _parent: tempfile::tempdir().unwrap(),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_shows_nothing_half_written() {
    let Some(disk) = Disk::mount() else { return };
    let rig = disk.rig();
    a_full_vault_shows_nothing_half_written(&rig).await;
    assert_eq!(rig.paths(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_over_goes_however_many_jobs_are_named() {
    let rig = Rig::new();
    let vault = rig.vault(Ring::Ours).await;
    let mut kept = Vec::new();
    for kind in [BlobKind::Log, BlobKind::Result].repeat(30) {
        let job = JobId::fresh();
        let key = vault.new_key(job).unwrap();
        for bytes in [&b"small"[..], &large()] {
            vault.put(job, &key, kind, bytes).await.unwrap();
        }
        kept.extend((kind == BlobKind::Result).then_some(job));
    }
    rig.age(Duration::from_secs(86_400 * 20)).await;
    let named = vault.sweep(Duration::from_secs(3600), 3).await.unwrap();
    assert_eq!(named.len(), 3);
    assert!(named.iter().all(|job| kept.contains(job)));
    assert_eq!(
        rig.everything().await.len(),
        30 * (3 + 2),
        "folder, path, bytes; row, bytes"
    );
}
