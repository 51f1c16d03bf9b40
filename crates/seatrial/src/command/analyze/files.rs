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

/// The files as they are named, and those that are found in the directories, by path. Each once.
pub(super) fn gather(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut known = HashSet::new();
    for path in named {
        if path == Path::new("-") || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = beneath(path)?;
        if found.is_empty() {
            bail!(
                "there is no Dockerfile in {}\n  help: name the file itself if it is called otherwise",
                path.display()
            );
        }
        files.extend(found);
    }
    files.retain(|file| known.insert(file.clone()));
    Ok(files)
}

fn beneath(directory: &Path) -> Result<Vec<PathBuf>> {
    let walk = WalkBuilder::new(directory)
        .max_depth(Some(MAX_DEPTH))
        .follow_links(false)
        .require_git(false)
        .sort_by_file_name(Ord::cmp)
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot look into {}", directory.display()))?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) || !is_dockerfile(entry.path()) {
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
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let name = name.to_ascii_lowercase();
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
    fn a_directory_is_searched_by_name_and_by_what_git_ignores() {
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
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        let found = gather(&[folder.path().to_owned(), folder.path().join("Dockerfile")]).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["Dockerfile", "a/Dockerfile.prod", "a/web.Dockerfile", "b/Containerfile"]
        );
    }

    #[test]
    fn a_directory_without_a_dockerfile_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = gather(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(refusal.contains("there is no Dockerfile in"), "{refusal}");
    }
}
