//! The build context: a folder becomes a tar that we wrote ourselves.
//!
//! Entries are sorted, owned by root, without times: the same folder gives the same bytes.
//! `.dockerignore` is read by Docker's rules: patterns in order, the last match wins, a match of a
//! parent counts, `!` takes back.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::OFlags;

/// Most entries of a context. Our own bound: a tar of empty files is bounded by its headers
/// (512 bytes each) at 64 MiB / 512 = 131,072 anyway.
const MAX_ENTRIES: usize = 100_000;

/// Largest `.dockerignore`, in bytes.
const MAX_IGNORE: u64 = 1 << 20;

/// Packs `folder`, at most `max` bytes of tar.
pub(crate) fn pack(folder: &Path, max: u64) -> Result<Arc<[u8]>> {
    let rules = Rules::read(folder)?;
    let mut paths = Vec::new();
    walk(folder, Path::new(""), &rules, &mut paths)?;
    paths.sort();
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    for path in &paths {
        let room = max.saturating_sub(tar.get_ref().len() as u64);
        append(&mut tar, folder, path, room)
            .with_context(|| format!("cannot pack {} into the build context", path.display()))?;
        let packed = tar.get_ref().len() as u64;
        if packed > max {
            bail!("the build context is larger than {max} bytes (limits.context); leave files out with .dockerignore");
        }
    }
    Ok(tar.into_inner().context("cannot pack the build context")?.into())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, folder: &Path, path: &Path, room: u64) -> Result<()> {
    let full = folder.join(path);
    let meta = fs::symlink_metadata(&full)?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode() & 0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if meta.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        tar.append_data(&mut header, path, std::io::empty())?;
    } else if meta.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, path, fs::read_link(&full)?)?;
    } else if meta.is_file() {
        // Read whole first: a file that grows meanwhile must not break the tar. One byte more than
        // there is room for makes the tar too large, which the caller says.
        let (bytes, mode) = read_plain(&full, room + 1)?;
        header.set_mode(mode);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, &bytes[..])?;
    } else {
        bail!("it is neither a file, nor a folder, nor a symbolic link; leave it out with .dockerignore");
    }
    Ok(())
}

/// At most `max` bytes of a plain file, and its mode. What took its name meanwhile is neither
/// followed (a link) nor waited for (a pipe).
fn read_plain(path: &Path, max: u64) -> Result<(Vec<u8>, u32)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        bail!("it is not a plain file");
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok((bytes, meta.mode() & 0o777))
}

fn walk(folder: &Path, below: &Path, rules: &Rules, found: &mut Vec<PathBuf>) -> Result<()> {
    let full = folder.join(below);
    let entries = fs::read_dir(&full).with_context(|| format!("cannot read the folder {}", full.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read the folder {}", full.display()))?;
        let path = below.join(entry.file_name());
        let is_folder = entry.file_type()?.is_dir();
        let ignored = rules.ignore(&path);
        if !ignored {
            if found.len() == MAX_ENTRIES {
                bail!("the build context has more than {MAX_ENTRIES} entries; leave files out with .dockerignore");
            }
            found.push(path.clone());
        }
        // An ignored folder may hold files that a later `!` takes back.
        if is_folder && (!ignored || rules.takes_back) {
            walk(folder, &path, rules, found)?;
        }
    }
    Ok(())
}

struct Rules {
    rules: Vec<(bool, GlobMatcher)>,
    takes_back: bool,
}

impl Rules {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(".dockerignore");
        if matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Self::parse("");
        }
        let cannot = || format!("cannot read {}", path.display());
        let (bytes, _) = read_plain(&path, MAX_IGNORE + 1).with_context(cannot)?;
        if bytes.len() as u64 > MAX_IGNORE {
            bail!("{} is larger than {MAX_IGNORE} bytes", path.display());
        }
        Self::parse(&String::from_utf8(bytes).with_context(cannot)?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut rules = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (takes_back, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            if pattern.is_empty() || pattern == "." {
                continue;
            }
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .with_context(|| format!("'{}' in .dockerignore is not a pattern", line.escape_debug()))?;
            rules.push((takes_back, glob.compile_matcher()));
        }
        let takes_back = rules.iter().any(|(takes_back, _)| *takes_back);
        Ok(Self { rules, takes_back })
    }

    fn ignore(&self, path: &Path) -> bool {
        let mut ignored = false;
        for (takes_back, glob) in &self.rules {
            if path
                .ancestors()
                .any(|part| !part.as_os_str().is_empty() && glob.is_match(part))
            {
                ignored = !takes_back;
            }
        }
        ignored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        Rules::parse(rules).unwrap().ignore(Path::new(path))
    }

    #[test]
    fn dockerignore_is_read_by_dockers_rules() {
        assert!(ignored("target", "target/debug/x"));
        assert!(!ignored("target", "a/target"), "patterns are anchored at the root");
        assert!(ignored("**/target", "a/target/x"));
        assert!(ignored("*.md\n!README.md", "x.md") && !ignored("*.md\n!README.md", "README.md"));
        assert!(ignored("!README.md\n*.md", "README.md"), "the last match wins");
        assert!(
            !ignored("docs\n!docs/keep", "docs/keep/x"),
            "a folder's files can be taken back"
        );
        assert!(!ignored("*.md", "a/x.md"), "a star does not cross a slash");
        assert!(ignored("# c\n\n/abs/", "abs/x"));
    }

    #[test]
    fn a_link_or_a_pipe_that_took_the_name_of_a_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        assert!(read_plain(&at("link"), 10).is_err());
        assert!(read_plain(&at("pipe"), 10).is_err());
        std::os::unix::fs::symlink("/etc/passwd", at(".dockerignore")).unwrap();
        assert!(pack(folder.path(), 1 << 20).is_err());
    }

    #[test]
    fn no_more_of_a_file_is_read_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("sparse")).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = pack(folder.path(), 1 << 20).unwrap_err().to_string();
        assert!(error.contains("limits.context"), "{error}");
        fs::rename(folder.path().join("sparse"), folder.path().join(".dockerignore")).unwrap();
        let error = pack(folder.path(), 1 << 20).err().unwrap().to_string();
        assert!(error.contains("larger than 1048576"), "{error}");
    }

    #[test]
    fn the_same_folder_gives_the_same_bytes_and_a_large_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/file"), "x").unwrap();
        fs::write(folder.path().join("a"), "y").unwrap();
        fs::write(folder.path().join(".dockerignore"), "a\n").unwrap();
        std::os::unix::fs::symlink("/etc/shadow", folder.path().join("link")).unwrap();
        let packed = pack(folder.path(), 1 << 20).unwrap();
        assert_eq!(packed, pack(folder.path(), 1 << 20).unwrap());
        let mut archive = tar::Archive::new(&packed[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [".dockerignore", "b", "b/file", "link"],
            "a link is packed as a link, never followed"
        );
        assert!(
            pack(folder.path(), 600)
                .unwrap_err()
                .to_string()
                .contains("limits.context")
        );
    }
}
