//! Which base images are allowed.
//!
//! Names are completed before they come here (`debian` is `docker.io/library/debian:latest`), so a
//! pattern has one meaning. Tag and digest are cut off first: an allow-list says whom we trust, a
//! pin is a matter of its own. A name with any character that a completed name cannot have, or
//! without a registry, is never allowed, whatever the patterns are.

/// Whether one of the patterns matches the completed name.
pub(crate) fn allowed(patterns: &[String], name: &str) -> bool {
    let Some(repository) = repository(name) else {
        return false;
    };
    patterns
        .iter()
        .any(|pattern| matches(pattern.as_bytes(), repository.as_bytes()))
}

/// The completed name without tag and digest; `None` when it is not one.
fn repository(name: &str) -> Option<&str> {
    let named = name.split_once('@').map_or(name, |(named, _)| named);
    let last_part = named.rfind('/')? + 1;
    let end = named[last_part..]
        .find(':')
        .map_or(named.len(), |colon| last_part + colon);
    let repository = &named[..end];
    let (registry, path) = repository.split_once('/')?;
    let registry_like = registry.contains(['.', ':']) || registry == "localhost";
    let registry_plain = registry
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'));
    let path_plain = path.split('/').all(|part| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-'))
    });
    (registry_like && registry_plain && path_plain).then_some(repository)
}

/// `*` matches within one part of the path, `**` across parts. Both may match nothing, except that
/// a part is never empty in a completed name. One pass per pattern position: no backtracking
/// blow-up, whatever the operator writes.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // reachable[i]: the pattern so far matches the first i bytes of the text.
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'*' {
            let across = tail.first() == Some(&b'*');
            rest = if across { &tail[1..] } else { tail };
            for index in 1..=text.len() {
                reachable[index] |= reachable[index - 1] && (across || text[index - 1] != b'/');
            }
        } else {
            rest = tail;
            for index in (1..=text.len()).rev() {
                reachable[index] = reachable[index - 1] && text[index - 1] == byte;
            }
            reachable[0] = false;
        }
    }
    reachable[text.len()]
}

/// Refuses patterns that could never match, so that nobody believes in them.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    if pattern.is_empty() {
        return Err("is empty");
    }
    if pattern.contains('@') {
        return Err("names a digest; patterns match names without tag and digest");
    }
    let last_part = pattern.rfind('/').map_or(0, |slash| slash + 1);
    if last_part == 0 && !pattern.contains("**") {
        return Err("names no registry");
    }
    if pattern[last_part..].contains(':') {
        return Err("names a tag; patterns match names without tag and digest");
    }
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'*' | b'[' | b']')
    };
    if !pattern.bytes().all(plain) {
        return Err("has a character that no image name has");
    }
    if let Some((registry, _)) = pattern.split_once('/')
        && !registry.contains(['.', ':', '*'])
        && registry != "localhost"
    {
        return Err("does not begin with a registry");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, name: &str) -> bool {
        check_pattern(pattern).unwrap();
        allowed(&[pattern.to_owned()], name)
    }

    #[test]
    fn a_star_stays_within_one_part_and_two_cross_parts() {
        assert!(allows("docker.io/library/*", "docker.io/library/debian:12"));
        assert!(!allows("docker.io/*", "docker.io/library/debian"));
        assert!(allows("docker.io/**", "docker.io/library/debian"));
        assert!(allows("**", "quay.io/a/b/c"));
        assert!(allows(
            "registry.example:5000/team/py*-slim",
            "registry.example:5000/team/python-slim:1"
        ));
        assert!(!allows("docker.io/library/debian", "docker.io/library/debian-evil"));
        assert!(!allows("docker.io/library/debian", "docker.io/library/debia"));
        assert!(!allows("docker.io/library/*", "evil.example/docker.io/library/x"));
    }

    #[test]
    fn tag_and_digest_do_not_count() {
        for name in [
            "docker.io/library/debian",
            "docker.io/library/debian:12",
            "docker.io/library/debian@sha256:0123",
            "docker.io/library/debian:12@sha256:0123",
        ] {
            assert!(allows("docker.io/library/debian", name), "{name}");
        }
        assert!(!allows(
            "docker.io/library/debian",
            "evil.example/x@docker.io/library/debian"
        ));
    }

    #[test]
    fn what_is_not_a_completed_name_is_never_allowed() {
        for name in [
            "",
            "debian",
            "library/debian",
            "docker.io/",
            "docker.io//debian",
            "docker.io/../debian",
            "docker.io/Library/debian",
            "docker.io/library/deb ian",
            "docker.io/library/debian\n",
            "docker.io/library/débian",
            "sha256:0123",
            "docker.io/library/$BASE",
            "/debian",
        ] {
            assert!(!allows("**", name), "{name:?}");
        }
        assert!(allows("**", "localhost/x") && allows("**", "localhost:5000/x"));
    }

    #[test]
    fn patterns_that_can_never_match_are_refused() {
        for bad in [
            "",
            "debian",
            "debian:12",
            "library/*",
            "docker.io/library/debian:12",
            "docker.io/x@sha256:1",
            "docker.io/a b",
        ] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_stars_do_not_blow_up() {
        let pattern = format!("docker.io/{}b", "*a".repeat(200));
        let name = format!("docker.io/{}", "a".repeat(4000));
        let begun = std::time::Instant::now();
        assert!(!allowed(&[pattern], &name));
        assert!(begun.elapsed().as_secs() < 2);
    }
}
