//! Paths as Go's `path` package joins and cleans them.

/// `path.Join("/", base, path)`: absolute, without `.`, `..` and double slashes.
pub(super) fn absolute(base: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The same for a destination: what says that it is a folder keeps saying so.
pub(super) fn destination(workdir: &str, path: &str) -> String {
    let folder = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    let mut joined = absolute(workdir, path);
    if folder && joined != "/" {
        joined.push('/');
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_and_clean() {
        assert_eq!(absolute("/a/b", "../c//./d/"), "/a/c/d");
        assert_eq!(absolute("/a", "/b"), "/b");
        assert_eq!(absolute("", "../../x"), "/x");
        assert_eq!(absolute("/", "."), "/");
    }

    #[test]
    fn a_destination_that_is_a_folder_stays_one() {
        for (path, expected) in [
            (".", "/w/"),
            ("./", "/w/"),
            ("x/.", "/w/x/"),
            ("x", "/w/x"),
            ("/", "/"),
            ("..", "/"),
        ] {
            assert_eq!(destination("/w", path), expected, "{path}");
        }
    }
}
