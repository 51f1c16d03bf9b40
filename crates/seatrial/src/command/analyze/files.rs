//! Which files are meant.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use ignore::WalkBuilder;

/// More files than this are a mistake: a home directory, a cache.
const MAX_FILES: usize = 20_000;
/// Directories may lie in each other this deep.
const MAX_DEPTH: usize = 64;

/// The files that are meant, and those of their folders that are not.
#[derive(Default, Debug)]
pub(super) struct Files {
    /// As they are named, and those that are found in the directories, by path. Each once.
    pub(super) found: Vec<PathBuf>,
    /// Dockerfiles that `.gitignore` names or that lie in hidden folders. Who wrote the Dockerfile may have written
    /// that too, so it is told.
    pub(super) left_out: Vec<PathBuf>,
}

/// Finds them.
pub(super) fn gather(named: &[PathBuf]) -> Result<Files> {
    let mut files = Files::default();
    let mut known = HashSet::new();
    for path in named {
        if path == Path::new("-") || !path.is_dir() {
            files.found.push(path.clone());
            continue;
        }
        let found = beneath(path, true)?;
        let all = beneath(path, false)?;
        if found.is_empty() {
            bail!(
                "there is no Dockerfile in {}{}\n  help: name the file itself if it is called otherwise",
                path.display(),
                match all.len() {
                    0 => String::new(),
                    hidden => format!(", but for {hidden} that .gitignore names or that lie in hidden folders"),
                }
            );
        }
        let seen: HashSet<_> = found.iter().collect();
        files
            .left_out
            .extend(all.iter().filter(|path| !seen.contains(path)).cloned());
        files.found.extend(found);
    }
    files.found.retain(|file| known.insert(file.clone()));
    files.left_out.retain(|file| known.insert(file.clone()));
    Ok(files)
}

/// `.gitignore` of the directory counts when it is asked for, and nothing from outside of it ever.
fn beneath(directory: &Path, filtered: bool) -> Result<Vec<PathBuf>> {
    let walk = WalkBuilder::new(directory)
        .max_depth(Some(MAX_DEPTH))
        .follow_links(false)
        .standard_filters(false)
        .hidden(filtered)
        .git_ignore(filtered)
        .require_git(false)
        // What git keeps for itself is nobody's Dockerfile.
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot look into {}", directory.display()))?;
        let kind = entry.file_type();
        if entry.depth() == MAX_DEPTH && kind.is_some_and(|kind| kind.is_dir()) {
            bail!(
                "{} lies deeper than {MAX_DEPTH} folders\n  help: name it to have it looked at",
                entry.path().display()
            );
        }
        if !kind.is_some_and(|kind| kind.is_file()) || !is_dockerfile(entry.path()) {
            continue;
        }
        if files.len() >= MAX_FILES {
            bail!(
                "there are more than {MAX_FILES} Dockerfiles in {}\n  help: name a directory of one project",
                directory.display()
            );
        }
        files.push(entry.into_path());
    }
    Ok(files)
}

/// By the names that builders and editors take for one, in any case.
fn is_dockerfile(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    // What stands beside a Dockerfile, and is none.
    if name.ends_with(".dockerignore") {
        return false;
    }
    ["dockerfile", "containerfile"].iter().any(|kind| {
        name == *kind
            || name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'))
            || name.strip_suffix(kind).is_some_and(|rest| rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_searched_by_name_and_what_git_ignores_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "Dockerfile",
            "a/Dockerfile.prod",
            "a/web.Dockerfile",
            "b/Containerfile",
            "b/Dockerfile.dockerignore",
            "b/notes.txt",
            "build/Dockerfile",
            ".hidden/Dockerfile",
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "FROM scratch\n").unwrap();
        }
        std::fs::write(folder.path().join(".gitignore"), "build/\n").unwrap();
        // Not of git, and no reason to leave anything out.
        std::fs::write(folder.path().join(".ignore"), "Dockerfile.prod\n").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        let found = gather(&[folder.path().to_owned(), folder.path().join("Dockerfile")]).unwrap();
        let names = |paths: &[PathBuf]| {
            let names = paths
                .iter()
                .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            names(&found.found),
            ["Dockerfile", "a/Dockerfile.prod", "a/web.Dockerfile", "b/Containerfile"]
        );
        assert_eq!(names(&found.left_out), [".hidden/Dockerfile", "build/Dockerfile"]);
    }

    #[test]
    fn a_directory_without_a_dockerfile_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = gather(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(refusal.contains("there is no Dockerfile in"), "{refusal}");
    }
}
