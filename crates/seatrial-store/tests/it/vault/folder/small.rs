//! Small blobs: rows of one file.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Barrier,
    time::{Duration, SystemTime},
};

use seatrial_core::{
    id::JobId,
    testing::vault::{Ring, VaultRig as _},
    vault::{BlobKind, Vault as _, VaultError},
};
use seatrial_store::vault::{FolderVault, OpenError, Ttl, folder::Folder};

use super::{Disk, Rig, set_written};

#[tokio::test]
async fn what_is_small_makes_no_file_of_its_own() {
    let rig = Rig::new();
    rig.filled(&[7; 60_000]).await;
    assert_eq!(rig.paths().len(), 0);
    let mut files = Vec::new();
    for entry in fs::read_dir(&rig.root).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        files.push((entry.file_name().into_string().unwrap(), mode));
    }
    files.sort();
    let ours = ["small.db", "small.db-shm", "small.db-wal"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(files, ours);
}

/// As an older Seatrial left it.
#[tokio::test]
async fn a_small_blob_in_a_file_is_read_expires_and_is_erased() {
    let rig = Rig::new();
    let as_file = async |bytes: &[u8]| {
        let (vault, job, key, blob) = rig.filled(bytes).await;
        let sealed = rig.raw(job, BlobKind::Log, &blob.name).await;
        rig.table().execute("DELETE FROM blobs", []).unwrap();
        fs::create_dir_all(rig.job_folder(job)).unwrap();
        fs::write(rig.path(job, BlobKind::Log, &blob.name), sealed).unwrap();
        (vault, job, key, blob)
    };
    let (vault, job, key, blob) = as_file(b"a log").await;
    assert_eq!(vault.get(job, &key, BlobKind::Log, &blob).await.unwrap(), b"a log");
    // Beside rows of the same job.
    let more = vault.put(job, &key, BlobKind::Log, b"more").await.unwrap();
    let both = [(BlobKind::Log, &more), (BlobKind::Log, &blob)];
    let both = vault.get_all(job, &key, &both).await.unwrap();
    assert_eq!(both, [b"more".to_vec(), b"a log".to_vec()]);
    assert_eq!(vault.sweep(Duration::ZERO, 10).await.unwrap(), [job]);
    vault.erase(job).await.unwrap();
    assert_eq!(rig.everything().await.len(), 0);

    let (vault, job, _, blob) = as_file(b"deleted").await;
    vault.delete(job, &blob).await.unwrap();
    assert!(!rig.path(job, BlobKind::Log, &blob.name).exists());
    let (vault, job, key, blob) = as_file(b"over").await;
    let path = rig.path(job, BlobKind::Log, &blob.name);
    set_written(&path, SystemTime::now() - Duration::from_secs(86_400 * 16));
    let end = vault.get(job, &key, BlobKind::Log, &blob).await;
    assert!(matches!(end, Err(VaultError::Missing { .. })), "{end:?}");
    vault.sweep(Duration::from_secs(3600), 10).await.unwrap();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_not_ours_alone_is_refused() {
    let rig = Rig::new();
    let open = || match Folder::open(&rig.root, Ttl::default()) {
        Err(OpenError::Unfit(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was taken"),
    };
    drop(Folder::open(&rig.root, Ttl::default()).unwrap());
    let path = rig.root.join("small.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open().ends_with("is open to others (mode 640): chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
        assert!(open().ends_with("belongs to user 4711, and this is user 0"));
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    let elsewhere = rig.root.parent().unwrap().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(open().ends_with("is no plain file"));
    fs::remove_file(&path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (a);").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open().contains("did not take its file"));
}

#[tokio::test]
async fn a_file_of_a_newer_seatrial_is_left_alone() {
    let rig = Rig::new();
    let (vault, job, key, blob) = rig.filled(b"a log").await;
    rig.table().pragma_update(None, "user_version", 99).unwrap();
    assert!(Folder::open(&rig.root, Ttl::default()).is_err());
    // Who has it open already writes no more.
    let end = vault.put(job, &key, BlobKind::Log, b"more").await;
    assert!(end.is_err_and(|error| error.is_transient()));
    rig.table().pragma_update(None, "user_version", 1).unwrap();
    vault.put(job, &key, BlobKind::Log, b"more").await.unwrap();
    assert_eq!(vault.get(job, &key, BlobKind::Log, &blob).await.unwrap(), b"a log");
}

#[tokio::test]
async fn many_may_open_a_fresh_folder_at_once() {
    let rig = Rig::new();
    let barrier = Barrier::new(8);
    let folders: Vec<Folder> = std::thread::scope(|scope| {
        let open = || {
            barrier.wait();
            Folder::open(&rig.root, Ttl::default()).unwrap()
        };
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        opening.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut puts = tokio::task::JoinSet::new();
    for folder in folders {
        puts.spawn(async move {
            let vault = FolderVault::new(folder, super::super::ring(Ring::Ours));
            let job = JobId::fresh();
            let key = vault.new_key(job).unwrap();
            let blob = vault.put(job, &key, BlobKind::Log, b"a log").await.unwrap();
            (job, key, blob)
        });
    }
    let vault = rig.vault(Ring::Ours).await;
    for (job, key, blob) in puts.join_all().await {
        assert_eq!(vault.get(job, &key, BlobKind::Log, &blob).await.unwrap(), b"a log");
    }
}

#[tokio::test]
async fn a_row_from_the_future_is_young() {
    let rig = Rig::new();
    let (vault, job, key, blob) = rig.filled(b"a log").await;
    rig.table()
        .execute("UPDATE blobs SET written = 9223372036854775807", [])
        .unwrap();
    assert_eq!(vault.sweep(Duration::from_secs(1), 10).await.unwrap(), []);
    assert!(vault.get(job, &key, BlobKind::Log, &blob).await.is_ok());
    rig.table()
        .execute("UPDATE blobs SET written = -9223372036854775808", [])
        .unwrap();
    let end = vault.get(job, &key, BlobKind::Log, &blob).await;
    assert!(matches!(end, Err(VaultError::Missing { .. })), "{end:?}");
    vault.sweep(Duration::from_secs(1), 10).await.unwrap();
    assert_eq!(rig.everything().await.len(), 0);
}

#[tokio::test]
async fn nothing_plain_is_in_the_file_and_its_log() {
    let rig = Rig::new();
    let mark = b"FROM seatrial-marker-7f3a\n";
    let (_vault, job, ..) = rig.filled(mark).await;
    let mut bytes = fs::read(rig.root.join("small.db-wal")).unwrap();
    bytes.extend(fs::read(rig.root.join("small.db")).unwrap());
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(job.short().as_bytes()), "these are the files");
    assert!(!mark.windows(8).any(holds));
}

#[tokio::test]
async fn a_full_disk_takes_no_row_and_loses_none() {
    let Some(disk) = Disk::mount() else { return };
    let rig = disk.rig();
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let key = vault.new_key(job).unwrap();
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, [7; 300_000]).unwrap();
    let parts = [(BlobKind::Dockerfile, &[1; 15_000][..]), (BlobKind::Log, &[2; 15_000])];
    let mut kept = Vec::new();
    let error = loop {
        match vault.put_all(job, &key, &parts).await {
            Ok(blobs) => kept.extend(blobs),
            Err(error) => break error,
        }
        assert!(kept.len() < 100, "the disk is not full");
    };
    assert!(error.is_transient(), "{error:?}");
    assert!(kept.len() > 4);
    let all_there = async || {
        for (number, blob) in kept.iter().enumerate() {
            let (kind, bytes) = parts[number % 2];
            assert_eq!(vault.get(job, &key, kind, blob).await.unwrap(), bytes);
        }
    };
    all_there().await;
    let rows: i64 = rig
        .table()
        .query_row("SELECT count(*) FROM blobs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, kept.len() as i64, "nothing of what was refused is there");
    fs::remove_file(&ballast).unwrap();
    vault.put_all(job, &key, &parts).await.unwrap();
    all_there().await;
    vault.erase(job).await.unwrap();
    assert_eq!(rig.everything().await.len(), 0);
}
