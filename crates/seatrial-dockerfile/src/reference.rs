//! Names of images, completed as Docker completes them.
//!
//! An allow-list can only be matched against a name with one spelling: `debian`,
//! `library/debian:latest` and `index.docker.io/library/debian` are one image.

/// The longest repository name that Docker takes, registry included.
const MAX_NAME: usize = 255;
/// The longest tag.
const MAX_TAG: usize = 128;

/// `debian` becomes `docker.io/library/debian:latest`. A digest stays, with or without a tag beside
/// it. `None`: Docker refuses it as an image reference.
#[must_use]
pub fn complete(name: &str) -> Option<String> {
    if name.len() == 64 && name.bytes().all(is_lower_hex) {
        return None; // an image id: Docker refuses to guess
    }
    let (named, digest) = match name.split_once('@') {
        Some((named, digest)) => (named, Some(valid_digest(digest)?)),
        None => (name, None),
    };
    let last_part = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match named[last_part..].split_once(':') {
        Some((_, tag)) => (&named[..named.len() - tag.len() - 1], Some(valid_tag(tag)?)),
        None => (named, None),
    };
    let (registry, path) = match repository.split_once('/') {
        Some((first, rest)) if names_registry(first) => (first, rest),
        _ => ("docker.io", repository),
    };
    let registry = if registry == "index.docker.io" {
        "docker.io"
    } else {
        registry
    };
    let library = if registry == "docker.io" && !path.contains('/') {
        "library/"
    } else {
        ""
    };
    let valid = is_registry(registry) && path.split('/').all(is_path_part);
    let mut completed = format!("{registry}/{library}{path}");
    if !valid || completed.len() > MAX_NAME {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => completed.extend([":", tag]),
        (None, None) => completed.push_str(":latest"),
        (None, Some(_)) => {}
    }
    completed.extend(digest.into_iter().flat_map(|digest| ["@", digest]));
    Some(completed)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

fn valid_digest(digest: &str) -> Option<&str> {
    let (algorithm, hex) = digest.split_once(':')?;
    let len = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return None,
    };
    (hex.len() == len && hex.bytes().all(is_lower_hex)).then_some(digest)
}

fn valid_tag(tag: &str) -> Option<&str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let valid = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    valid.then_some(tag)
}

/// Whether the first part of a name is a registry and not a folder on Docker Hub.
fn names_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(literal) => {
            let Some((address, rest)) = literal.split_once(']') else {
                return false;
            };
            let plain = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
            if !plain {
                return false;
            }
            match rest {
                "" => return true,
                rest => ("", rest.strip_prefix(':')),
            }
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, Some("0")),
        },
    };
    let port_ok = port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    port_ok && (registry.starts_with('[') || host.split('.').all(is_host_part))
}

fn is_host_part(part: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edge = |byte: Option<u8>| byte.is_some_and(plain);
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part
            .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
            .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_as_docker_does() {
        for (name, completed) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:bookworm-slim", "docker.io/library/debian:bookworm-slim"),
            ("library/debian", "docker.io/library/debian:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/debian:12", "docker.io/library/debian:12"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("grafana/grafana", "docker.io/grafana/grafana:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("host:5000/x", "host:5000/x:latest"),
            ("host:5000", "docker.io/library/host:5000"),
            ("quay.io/a/b/c:1", "quay.io/a/b/c:1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("[::1]/a", "[::1]/a:latest"),
            ("Host/a", "Host/a:latest"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
        ] {
            assert_eq!(complete(name).as_deref(), Some(completed), "{name}");
        }
    }

    #[test]
    fn a_digest_stays_with_or_without_a_tag() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(
            complete(&format!("debian@{digest}")),
            Some(format!("docker.io/library/debian@{digest}"))
        );
        assert_eq!(
            complete(&format!("quay.io/a:1@{digest}")),
            Some(format!("quay.io/a:1@{digest}"))
        );
    }

    #[test]
    fn what_docker_refuses_is_not_completed() {
        let id = "0a".repeat(32);
        let long = "a".repeat(260);
        for name in [
            "",
            " ",
            "a b",
            "Debian",
            "debian:",
            ":12",
            "debian@",
            "debian@sha256:00",
            "a@md5:00",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a.",
            "_a",
            "a:b:c",
            "a/b:c/d",
            "http://a/b",
            "host:/a",
            "host:x/a",
            "[::1/a",
            "[]/a",
            "[::1]5/a",
            "-h.io/a",
            "h..io/a",
            "dé",
            "a\n",
            "a@sha256:A",
            &id,
            &long,
            "a/B",
            "$x",
            "a${x}",
            "debian:.x",
        ] {
            assert_eq!(complete(name), None, "{name:?}");
        }
    }
}
