//! Sealed bytes in a folder: small ones as rows of `small.db`, see [`small`]; longer ones in files,
//! `<root>/<2 characters>/<job>/<name>.<kind>`. What is small and lies in a file, for an older Seatrial put it
//! there, is found too.
//!
//! Files are written under another name, made durable, and then get their own: what has a name is whole.
//! Nothing follows a link: each folder is opened beneath the one before it. The two characters are a job
//! id's last ones, which are random.
//!
//! No blob rests on a folder that is not durable yet: a process makes each of the 1,024 upper folders
//! durable before it uses it for the first time, whoever made it. A job's own folder is made with the
//! first file of it, and its record comes after all of its blobs.

mod small;
mod sweep;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use seatrial_core::{
    id::JobId,
    vault::{BlobKind, VaultError},
};

use self::{
    small::{Found, Small},
    sweep::{Look, Swept},
};
use super::{BlobName, BlobStore, OpenError, Sealed, Ttl, Wanted, blocking, seal, unreachable};

/// What a file is called while it is written begins with this.
const UNFINISHED: &str = ".new-";
/// How often a write makes a job's folder again that a sweep or an erasure took away under it.
const TRIES: usize = 5;

/// A folder of sealed files. Clones share it.
#[derive(Clone)]
pub struct Folder(Arc<Inner>);

struct Inner {
    root: Arc<OwnedFd>,
    small: Small,
    ttl: Ttl,
    /// Upper folders that are durable for sure.
    durable: Mutex<BTreeSet<String>>,
    swept: Mutex<Swept>,
}

impl Folder {
    /// Opens the folder, made with mode 0700 if it is not there; its parent must be.
    ///
    /// # Errors
    /// [`OpenError`]: it is a link, is open to others, or belongs to somebody else.
    pub fn open(path: &Path, ttl: Ttl) -> Result<Self, OpenError> {
        let failed = |action| {
            move |error: Errno| OpenError::Unreachable {
                action,
                source: io::Error::from(error).into(),
            }
        };
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => sync_parent(path).map_err(failed("make its folder durable"))?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make its folder")(error)),
        }
        let unfit = |why: String| Err(OpenError::Unfit(format!("{} {why}", path.display())));
        let root = match rustix::fs::open(path, folder_flags(), Mode::empty()) {
            Ok(root) => root,
            Err(Errno::LOOP | Errno::NOTDIR) => return unfit("is a link or not a folder".into()),
            Err(error) => return Err(failed("open its folder")(error)),
        };
        let stat = rustix::fs::fstat(&root).map_err(failed("open its folder"))?;
        let us = rustix::process::geteuid().as_raw();
        if stat.st_uid != us {
            return unfit(format!("belongs to user {}, and this is user {us}", stat.st_uid));
        }
        if stat.st_mode & 0o077 != 0 {
            return unfit(format!(
                "is open to others (mode {:03o}): chmod 700",
                stat.st_mode & 0o777
            ));
        }
        let root = Arc::new(root);
        Ok(Self(Arc::new(Inner {
            small: small::open(&root, path)?,
            root,
            ttl,
            durable: Mutex::default(),
            swept: Mutex::default(),
        })))
    }

    fn swept<T>(&self, with: impl FnOnce(&mut Swept) -> T) -> T {
        with(&mut self.0.swept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn work<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, VaultError> {
        let inner = Arc::clone(&self.0);
        blocking(action, move || {
            work(&inner).map_err(|error| unreachable(action)(io::Error::from(error)))
        })
        .await
    }
}

#[async_trait]
impl BlobStore for Folder {
    async fn write_all(&self, job: JobId, blobs: Vec<Sealed>) -> Result<(), VaultError> {
        let is_small = |blob: &Sealed| blob.bytes.len() <= small::LONGEST;
        let (small, large): (Vec<Sealed>, Vec<Sealed>) = blobs.into_iter().partition(is_small);
        if !large.is_empty() {
            self.work("write blobs", move |inner| {
                let write = |blob: &Sealed| inner.write(job, blob.kind, blob.name, &blob.bytes);
                large.iter().try_for_each(write)
            })
            .await?;
        }
        if small.is_empty() {
            return Ok(());
        }
        self.0.small.write(job, small).await
    }

    async fn read_all(&self, job: JobId, blobs: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, VaultError> {
        let rows = self.0.small.read(job, blobs.to_vec(), self.0.ttl).await?;
        let mut all = Vec::with_capacity(rows.len());
        for (row, &blob) in rows.into_iter().zip(blobs) {
            all.push(match row {
                Found::Row(sealed) => Some(sealed),
                Found::Over => None,
                Found::Nothing => {
                    let read = move |inner: &Inner| inner.read(job, blob.kind, blob.name, blob.len);
                    self.work("read a blob", read).await?
                }
            });
        }
        Ok(all)
    }

    async fn delete(&self, job: JobId, name: BlobName) -> Result<(), VaultError> {
        self.work("delete a blob", move |inner| inner.delete(job, name)).await?;
        self.0.small.delete(job, name).await
    }

    async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        // Files first: to delete rows takes some room, and files give it where the disk is full.
        self.work("erase a job", move |inner| inner.erase(job)).await?;
        self.0.small.erase(job).await
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError> {
        self.work("tidy its folders", sweep::tidy).await?;
        self.0.small.expire(self.0.ttl).await?;
        let mut found = BTreeSet::new();
        let mut place = self.swept(|swept| std::mem::take(&mut swept.named));
        while found.len() < limit {
            let left = limit - found.len();
            let (jobs, next) = match place {
                Look::Files(after) => {
                    let look = move |inner: &Inner| sweep::old(inner, after, age, left);
                    let (jobs, ended) = self.work("look for old files", look).await?;
                    (jobs, ended.map_or(Look::Rows(None), |at| Look::Files(Some(at))))
                }
                Look::Rows(after) => {
                    let (jobs, ended) = self.0.small.old(after, age, left).await?;
                    (jobs, ended.map_or(Look::Files(None), |at| Look::Rows(Some(at))))
                }
            };
            found.extend(jobs);
            place = next;
            if !matches!(place, Look::Rows(None)) {
                break; // it looked at its share, or all round
            }
        }
        self.swept(|swept| swept.named = place);
        Ok(found.into_iter().collect())
    }

    async fn ping(&self) -> Result<(), VaultError> {
        self.0.small.ping().await?;
        self.work("find its folder", |inner| {
            if rustix::fs::fstat(&inner.root)?.st_nlink == 0 {
                return Err(Errno::NOENT); // removed under us: nothing can be written into it any more
            }
            let place = rustix::fs::fstatvfs(&inner.root)?;
            match place.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
                true => Err(Errno::ROFS),
                false => Ok(()),
            }
        })
        .await
    }
}

impl Inner {
    fn write(&self, job: JobId, kind: BlobKind, name: BlobName, sealed: &[u8]) -> Result<(), Errno> {
        let unfinished = format!("{UNFINISHED}{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut last = Errno::NOENT;
        for _ in 0..TRIES {
            let folder = self.make_job(job)?;
            let file = match rustix::fs::openat(&folder, &unfinished, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => {
                    last = Errno::NOENT; // the folder went between the two calls
                    continue;
                }
                Err(error) => return Err(error),
            };
            let done = finish(&folder, file, &unfinished, &file_name(name, kind), sealed);
            if done.is_err() {
                // Best effort: the sweep takes it otherwise.
                let _ = rustix::fs::unlinkat(&folder, &unfinished, AtFlags::empty());
            }
            return done;
        }
        Err(last)
    }

    fn read(&self, job: JobId, kind: BlobKind, name: BlobName, len: u64) -> Result<Option<Vec<u8>>, Errno> {
        let Some(folder) = self.job(job)? else {
            return Ok(None);
        };
        // Somebody put there what is no file of ours: other than any length that is asked for.
        let foreign = Ok(Some(Vec::new()));
        // NONBLOCK: a pipe would hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, file_name(name, kind), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return foreign,
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size != len {
            return foreign;
        }
        if age(&stat, SystemTime::now()) > self.ttl.of(kind) {
            return Ok(None);
        }
        let mut sealed = Vec::with_capacity(usize::try_from(size).map_err(|_| Errno::FBIG)?);
        File::from(file).take(len).read_to_end(&mut sealed).map_err(errno)?;
        Ok(Some(sealed))
    }

    fn delete(&self, job: JobId, name: BlobName) -> Result<(), Errno> {
        let Some(folder) = self.job(job)? else {
            return Ok(());
        };
        let mut gone = false;
        for kind in BlobKind::ALL {
            gone |= remove(&folder, &file_name(name, kind), AtFlags::empty())?;
        }
        if gone { rustix::fs::fsync(&folder) } else { Ok(()) }
    }

    fn erase(&self, job: JobId) -> Result<(), Errno> {
        let short = job.short();
        for _ in 0..TRIES {
            let Some((shard, folder)) = self.shard_and_job(&short)? else {
                return Ok(());
            };
            for entry in names(&folder)? {
                remove(&folder, &entry, AtFlags::empty())?;
            }
            match remove(&shard, &short, AtFlags::REMOVEDIR) {
                Ok(_) => return rustix::fs::fsync(&shard),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {} // a blob came meanwhile
                Err(error) => return Err(error),
            }
        }
        Err(Errno::BUSY)
    }

    /// A job's folder, if it is there.
    fn job(&self, job: JobId) -> Result<Option<OwnedFd>, Errno> {
        Ok(self.shard_and_job(&job.short())?.map(|(_, folder)| folder))
    }

    fn shard_and_job(&self, short: &str) -> Result<Option<(OwnedFd, OwnedFd)>, Errno> {
        let open = || {
            let shard = open_folder(&self.root, shard_of(short))?;
            let folder = open_folder(&shard, short)?;
            Ok((shard, folder))
        };
        match open() {
            Ok(both) => Ok(Some(both)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_job(&self, job: JobId) -> Result<OwnedFd, Errno> {
        let short = job.short();
        let shard = self.make_shard(shard_of(&short))?;
        for _ in 0..TRIES {
            match open_folder(&shard, &short) {
                Err(Errno::NOENT) => {}
                opened => return opened,
            }
            if make_folder(&shard, &short)? {
                rustix::fs::fsync(&shard)?;
            }
        }
        Err(Errno::BUSY)
    }

    fn make_shard(&self, name: &str) -> Result<OwnedFd, Errno> {
        let durable = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if !durable().contains(name) {
            make_folder(&self.root, name)?;
            rustix::fs::fsync(&self.root)?;
            durable().insert(name.to_owned());
        }
        open_folder(&self.root, name)
    }
}

/// Bytes first, on the disk; then the name, on the disk.
fn finish(folder: &OwnedFd, mut file: File, unfinished: &str, name: &str, sealed: &[u8]) -> Result<(), Errno> {
    file.write_all(sealed).map_err(errno)?;
    file.sync_all().map_err(errno)?;
    rustix::fs::renameat(folder, unfinished, folder, name)?;
    rustix::fs::fsync(folder).inspect_err(|_| {
        let _ = remove(folder, name, AtFlags::empty()); // it was not promised to anybody
    })
}

/// Whether there was something to remove.
fn remove(folder: &OwnedFd, name: &str, how: AtFlags) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(folder, name, how) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names in a folder, those that are no text left out: ours are.
fn names(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Whether there was none.
fn make_folder(beneath: &OwnedFd, name: &str) -> Result<bool, Errno> {
    match rustix::fs::mkdirat(beneath, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> Result<(), Errno> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fsync(rustix::fs::open(parent, flags, Mode::empty())?)
}

fn open_folder(beneath: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(beneath, name, folder_flags(), Mode::empty())
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn shard_of(short: &str) -> &str {
    &short[short.len() - 2..]
}

fn file_name(name: BlobName, kind: BlobKind) -> String {
    format!("{name}.{}", seal::word(kind))
}

/// How long ago it was written; zero when its time is still to come.
fn age(stat: &Stat, now: SystemTime) -> Duration {
    let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
    now.duration_since(UNIX_EPOCH + written).unwrap_or_default()
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
