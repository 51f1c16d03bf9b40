//! Bytes of a job: fetched, compared with their digest, and only then kept.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use reqwest::{
    Method, Request,
    header::{self, HeaderMap, HeaderValue},
};
use seatrial_core::{digest::Digest, id::JobId};
use sha2::{Digest as _, Sha256};

use super::{Client, Failure};

/// Tries of a download whose connection broke.
const TRIES: u32 = 3;

/// The result's bytes and whether the server announced a digest, which they have then.
pub(crate) async fn result(client: &Client, id: JobId) -> Result<(Vec<u8>, bool), Failure> {
    let request = client.request(Method::GET, &["jobs", &id.to_string(), "result"], &[]);
    let (headers, bytes) = client.fetch(&request).await?;
    let announced = announced(&headers);
    if let Some(announced) = announced {
        check("the result", Digest::of(&bytes), announced)?;
    }
    Ok((bytes, announced.is_some()))
}

/// A part of a job's, in a given media type.
pub(crate) fn part(client: &Client, id: JobId, path: &[&str], accept: Option<&'static str>) -> Request {
    let id = id.to_string();
    let path: Vec<&str> = ["jobs", &id].into_iter().chain(path.iter().copied()).collect();
    let mut request = client.request(Method::GET, &path, &[]);
    if let Some(accept) = accept {
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static(accept));
    }
    request
}

/// Streams an answer into a new file. It must have the digest `expected`, and the one that the server
/// announces with it; else nothing is kept.
pub(crate) async fn to_new_file(
    client: &Client,
    request: &Request,
    path: &Path,
    expected: Option<Digest>,
) -> Result<()> {
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    let mut tries = 0;
    let done = loop {
        tries += 1;
        match stream(client, request, &mut file, path, expected).await {
            Err(error) if tries < TRIES && is_broken(&error) => {
                file.set_len(0)?;
                std::io::Seek::rewind(&mut file)?;
            }
            done => break done,
        }
    };
    if done.is_err() {
        let _ = fs::remove_file(path); // it is ours: it was new
    }
    done
}

fn is_broken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::Unreachable { .. }))
}

/// Longest file that is taken: far more than any policy lets a guest leave.
const MOST: u64 = 1 << 30;

async fn stream(
    client: &Client,
    request: &Request,
    file: &mut fs::File,
    path: &Path,
    expected: Option<Digest>,
) -> Result<()> {
    let mut response = client.open(request).await?;
    let announced = announced(response.headers());
    let mut hash = Sha256::new();
    let mut written = 0_u64;
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|error| Failure::unreachable(&client.server(), &error))?
    {
        hash.update(&bytes);
        written += bytes.len() as u64;
        if written > MOST {
            return Err(client.foreign(format!("it sends more than {MOST} bytes")).into());
        }
        file.write_all(&bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let found = Digest::from_bytes(hash.finalize().into());
    for wanted in [expected, announced].into_iter().flatten() {
        check(&path.display().to_string(), found, wanted)?;
    }
    Ok(())
}

fn check(what: &str, found: Digest, announced: Digest) -> Result<(), Failure> {
    if found == announced {
        return Ok(());
    }
    Err(Failure::Corrupt {
        what: what.to_owned(),
        found: found.to_string(),
        announced: announced.to_string(),
    })
}

/// The digest in `Repr-Digest` or `Content-Digest` (RFC 9530): `sha-256=:…:`. We ask for no encoding, so
/// both mean the same bytes.
fn announced(headers: &HeaderMap) -> Option<Digest> {
    ["repr-digest", "content-digest"].into_iter().find_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        value.split(',').find_map(|one| {
            let text = one.trim().strip_prefix("sha-256=:")?.strip_suffix(':')?;
            Some(Digest::from_bytes(base64(text)?.try_into().ok()?))
        })
    })
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut number) = (0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        number += 6;
        if number >= 8 {
            number -= 8;
            bytes.push((bits >> number) as u8);
            bits &= (1 << number) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(announced(&headers), None);
        // The example of RFC 9530, appendix B.1.
        let value = "sha-512=:AAAA:, sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        headers.insert("repr-digest", HeaderValue::from_static(value));
        assert_eq!(announced(&headers), Some(Digest::of(b"{\"hello\": \"world\"}\n")));
        for bad in ["sha-256=:!!:", "sha-256=:AAAA:", "sha-256=RK", "md5=:AAAA:"] {
            headers.insert("repr-digest", HeaderValue::from_static(bad));
            assert_eq!(announced(&headers), None, "{bad}");
        }
    }
}
