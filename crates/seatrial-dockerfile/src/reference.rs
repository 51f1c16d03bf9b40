//! Names of images as Docker completes them. (stand-in)

/// `debian` -> `docker.io/library/debian:latest`; `None` for what is no image's name.
#[must_use]
pub fn complete(name: &str) -> Option<String> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let allowed = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || more.contains(one))
    };
    let (host, repository) = match path.split_once('/') {
        Some((host, more)) if host.contains(['.', ':']) || host == "localhost" => (host, more.to_owned()),
        Some(_) => ("docker.io", path.to_owned()),
        None => ("docker.io", format!("library/{path}")),
    };
    let tag_is_sound = tag.is_none_or(|tag| {
        !tag.is_empty()
            && tag.len() <= 128
            && tag
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || "_.-".contains(one))
    });
    let digest_is_sound = digest.is_none_or(|digest| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    if !allowed(&repository, "._-/") || repository.split('/').any(str::is_empty) || !tag_is_sound || !digest_is_sound {
        return None;
    }
    let mut whole = format!("{host}/{repository}");
    match (tag, digest) {
        (Some(tag), _) => whole.extend([":", tag]),
        (None, None) => whole.push_str(":latest"),
        (None, Some(_)) => {}
    }
    if let Some(digest) = digest {
        whole.extend(["@", digest]);
    }
    Some(whole)
}
