//! ST227 and ST228: credentials in the text, and files of them.
//!
//! Tokens of services have prefixes by which they are known; each is looked for where a word
//! begins, so that no byte is read more than a few times. What is found is never repeated.

use std::borrow::Cow;

use seatrial_core::finding::Span;

use crate::rules::{
    Progress, Site,
    catalogue::{ST227, ST228},
    needle::Needles,
    sink::{Sink, quoted, unquoted},
};

/// How a token goes on behind its prefix.
struct Shape {
    prefix: &'static str,
    /// Characters beside letters and digits.
    more: &'static [u8],
    least: usize,
    most: usize,
    what: &'static str,
}

const fn shape(prefix: &'static str, more: &'static [u8], least: usize, most: usize, what: &'static str) -> Shape {
    Shape {
        prefix,
        more,
        least,
        most,
        what,
    }
}

const SHAPES: [Shape; 35] = [
    shape("AGE-SECRET-KEY-1", b"", 40, 80, "a key of age"),
    shape("AIza", b"-_", 35, 35, "a key of Google"),
    shape("AKIA", b"", 16, 16, "an access key of AWS"),
    shape("ASIA", b"", 16, 16, "an access key of AWS"),
    shape("ATATT3", b"-_=", 60, 255, "a token of Atlassian"),
    shape("dapi", b"", 32, 34, "a token of Databricks"),
    shape("dckr_pat_", b"-_", 20, 80, "a token of Docker Hub"),
    shape("dop_v1_", b"", 60, 80, "a token of DigitalOcean"),
    shape("ghp_", b"", 36, 255, "a token of GitHub"),
    shape("gho_", b"", 36, 255, "a token of GitHub"),
    shape("ghr_", b"", 36, 255, "a token of GitHub"),
    shape("ghs_", b"", 36, 255, "a token of GitHub"),
    shape("ghu_", b"", 36, 255, "a token of GitHub"),
    shape("github_pat_", b"_", 40, 255, "a token of GitHub"),
    shape("gldt-", b"-_.", 20, 64, "a token of GitLab"),
    shape("glpat-", b"-_.", 20, 64, "a token of GitLab"),
    shape("glrt-", b"-_.", 20, 64, "a token of GitLab"),
    shape("glsa_", b"_", 32, 80, "a token of Grafana"),
    shape("hf_", b"", 34, 40, "a token of Hugging Face"),
    shape("hooks.slack.com/services/", b"/", 30, 80, "a webhook of Slack"),
    shape("hvs.", b"-_", 24, 200, "a token of Vault"),
    shape("lin_api_", b"", 36, 48, "a key of Linear"),
    shape("npm_", b"", 36, 36, "a token of npm"),
    shape("pscale_tkn_", b"-_", 30, 80, "a token of PlanetScale"),
    shape("pypi-AgE", b"-_", 40, 400, "a token of PyPI"),
    shape("rk_live_", b"", 20, 255, "a key of Stripe"),
    shape("rubygems_", b"", 48, 48, "a key of RubyGems"),
    shape("sbp_", b"", 40, 40, "a token of Supabase"),
    shape("shpat_", b"", 32, 32, "a token of Shopify"),
    shape("sk-ant-", b"-_", 20, 255, "a key of Anthropic"),
    shape("sk-proj-", b"-_", 20, 255, "a key of OpenAI"),
    shape("sk_live_", b"", 20, 255, "a key of Stripe"),
    shape("xapp-", b"-", 20, 255, "a token of Slack"),
    shape("xoxb-", b"-", 20, 255, "a token of Slack"),
    shape("xoxp-", b"-", 20, 255, "a token of Slack"),
];

/// The same prefixes, and the other things that are looked for.
static BEGINNINGS: Needles = Needles::new(
    &[
        "-----BEGIN ",
        "://",
        "AGE-SECRET-KEY-1",
        "AIza",
        "AKIA",
        "ASIA",
        "ATATT3",
        "AWS_SECRET_ACCESS_KEY",
        "aws_secret_access_key",
        "dapi",
        "dckr_pat_",
        "dop_v1_",
        "eyJ",
        "gho_",
        "ghp_",
        "ghr_",
        "ghs_",
        "ghu_",
        "github_pat_",
        "gldt-",
        "glpat-",
        "glrt-",
        "glsa_",
        "hf_",
        "hooks.slack.com/services/",
        "hvs.",
        "lin_api_",
        "npm_",
        "pscale_tkn_",
        "pypi-AgE",
        "rk_live_",
        "rubygems_",
        "sbp_",
        "shpat_",
        "sk-ant-",
        "sk-proj-",
        "sk_live_",
        "xapp-",
        "xoxb-",
        "xoxp-",
    ],
    0,
);

/// The longest user and password of a URL that are looked at.
const MAX_USERINFO: usize = 512;
/// The most of a web token that is looked at.
const MAX_WEB_TOKEN: usize = 8 << 10;

/// Looks at the whole text, comments and here-documents included.
pub(super) fn literals(sink: &mut Sink<'_>) {
    let text = &sink.parsed().text;
    each(text, |span, what| {
        sink.report(&ST227, span, || {
            let length = span.end - span.start;
            format!("this looks like {what} ({length} characters, not repeated here)")
        });
    });
}

/// The text with each credential in it left out.
pub(in crate::rules) fn masked(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut done = 0;
    each(text, |span, _| {
        masked.push_str(text.get(done..span.start).unwrap_or_default());
        masked.push_str("***");
        done = span.end;
    });
    if done == 0 {
        return Cow::Borrowed(text);
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(masked)
}

fn each(text: &str, mut tell: impl FnMut(Span, &'static str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let found = if BEGINNINGS.may_begin(bytes[at]) {
            BEGINNINGS.at(bytes, at).and_then(|prefix| literal(bytes, at, prefix))
        } else {
            None
        };
        match found {
            Some((span, what)) => {
                tell(span, what);
                at = span.end.max(at + 1);
            }
            None => at += 1,
        }
    }
}

fn literal(bytes: &[u8], at: usize, prefix: &'static str) -> Option<(Span, &'static str)> {
    match prefix {
        "-----BEGIN " => private_key(bytes, at),
        "://" => userinfo(bytes, at),
        _ => {
            let before = at.checked_sub(1).map(|before| bytes[before]);
            if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
                return None;
            }
            match prefix {
                "eyJ" => return web_token(bytes, at),
                "AWS_SECRET_ACCESS_KEY" | "aws_secret_access_key" => return assigned(bytes, at + prefix.len()),
                _ => {}
            }
            let shape = SHAPES.iter().find(|shape| shape.prefix == prefix)?;
            let start = at + prefix.len();
            let length = run(&bytes[start..], shape.more, shape.most + 1);
            let body = &bytes[start..start + length];
            let fits = (shape.least..=shape.most).contains(&length) && is_random(body);
            fits.then(|| (Span::new(at, start + length), shape.what))
        }
    }
}

/// How many letters, digits and bytes of `more` stand at the start.
fn run(bytes: &[u8], more: &[u8], most: usize) -> usize {
    bytes
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_alphanumeric() || more.contains(byte))
        .count()
}

/// Made-up tokens repeat one character, or say that they are examples.
fn is_random(body: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in body {
        seen[usize::from(*byte)] = true;
    }
    let kinds = seen.into_iter().filter(|seen| *seen).count();
    kinds >= 6 && !body.windows(7).any(|part| part.eq_ignore_ascii_case(b"example"))
}

/// 40 characters of base64 behind the name that AWS gives them.
fn assigned(bytes: &[u8], at: usize) -> Option<(Span, &'static str)> {
    let between = |byte: &u8| matches!(byte, b'=' | b':' | b' ' | b'"' | b'\'');
    let gap = bytes[at..].iter().take(6).take_while(|byte| between(byte)).count();
    let start = at + gap;
    let length = run(&bytes[start..], b"/+", 41);
    let fits = gap > 0 && length == 40 && is_random(&bytes[start..start + length]);
    fits.then(|| (Span::new(start, start + length), "a secret key of AWS"))
}

fn private_key(bytes: &[u8], at: usize) -> Option<(Span, &'static str)> {
    let line = bytes[at..].iter().take(80).take_while(|byte| **byte != b'\n').count();
    let line = &bytes[at..at + line];
    let start = line.windows(12).position(|part| part == b" PRIVATE KEY")?;
    let end = start + 12 + line[start + 12..].windows(5).position(|part| part == b"-----")? + 5;
    Some((Span::new(at, at + end), "a private key"))
}

/// Three parts of base64, the first two of which are JSON objects.
fn web_token(bytes: &[u8], at: usize) -> Option<(Span, &'static str)> {
    let header = run(&bytes[at..], b"-_", MAX_WEB_TOKEN);
    let payload_at = at + header + 1;
    let is_two = bytes.get(at + header) == Some(&b'.') && bytes.get(payload_at..)?.starts_with(b"eyJ");
    if !is_two || header < 12 {
        return None;
    }
    let payload = run(&bytes[payload_at..], b"-_", MAX_WEB_TOKEN);
    let signature_at = payload_at + payload + 1;
    if bytes.get(payload_at + payload) != Some(&b'.') {
        return None;
    }
    let signature = run(bytes.get(signature_at..)?, b"-_", MAX_WEB_TOKEN);
    (signature >= 16).then(|| (Span::new(at, signature_at + signature), "a web token (JWT)"))
}

/// The password in `scheme://user:password@host`, if one is written out.
fn userinfo(bytes: &[u8], at: usize) -> Option<(Span, &'static str)> {
    let start = at + 3;
    let has_scheme = at
        .checked_sub(1)
        .is_some_and(|before| bytes[before].is_ascii_alphanumeric());
    let ends =
        |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'@' | b'`') || byte.is_ascii_whitespace();
    let length = bytes[start..]
        .iter()
        .take(MAX_USERINFO)
        .take_while(|byte| !ends(byte))
        .count();
    if !has_scheme || bytes.get(start + length) != Some(&b'@') {
        return None;
    }
    let userinfo = &bytes[start..start + length];
    let colon = userinfo.iter().position(|byte| *byte == b':')?;
    let password = &userinfo[colon + 1..];
    let stands_for = |byte: &u8| matches!(byte, b'$' | b'<' | b'{' | b'%' | b'*');
    let placeholder =
        password.is_empty() || password.iter().any(stands_for) || password.iter().all(|byte| *byte == b'x');
    (!placeholder).then(|| (Span::new(start + colon + 1, start + length), "the password of a URL"))
}

/// Names of files that hold credentials.
const FILES: [&str; 22] = [
    ".dockercfg",
    ".env",
    ".git-credentials",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".s3cfg",
    ".vault-token",
    ".yarnrc.yml",
    "_netrc",
    "auth.json",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kubeconfig",
    "secring.gpg",
    "terraform.tfstate",
    "tokens.json",
];
/// Folders that hold them.
const FOLDERS: [&str; 5] = [".aws", ".azure", ".gnupg", ".kube", ".ssh"];
/// Endings of stores of keys.
const ENDINGS: [&str; 9] = [
    ".jks",
    ".kdbx",
    ".key",
    ".keystore",
    ".ovpn",
    ".p12",
    ".pem",
    ".pfx",
    ".ppk",
];
/// Words that tell that a file has the public half only.
const PUBLIC: [&str; 8] = [
    "ca",
    "cert",
    "certs",
    "certificate",
    "chain",
    "fullchain",
    "pub",
    "public",
];

/// What `COPY` and `ADD` take from the build context.
pub(super) fn copied(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    if instruction.flag("from").is_some() {
        return;
    }
    let Some((_, sources)) = instruction.words().split_last() else {
        return;
    };
    for word in sources {
        let path = progress.variables.expand_here(&word.value, site.is_trigger).text;
        if holds_credentials(&path) {
            sink.report(&ST228, word.span, || {
                format!(
                    "{} {} brings credentials along",
                    instruction.keyword.as_str(),
                    quoted(&path)
                )
            });
        }
    }
}

fn holds_credentials(path: &str) -> bool {
    let path = unquoted(path).trim_end_matches(['/', '*']).trim_end_matches('/');
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let folder = parts.next().unwrap_or_default();
    if FILES.contains(&name.as_str()) || FOLDERS.contains(&name.as_str()) {
        return true;
    }
    if FOLDERS.contains(&folder) {
        // known_hosts and public keys are nobody's secret
        return !name.ends_with(".pub") && !matches!(name.as_str(), "known_hosts" | "config" | "authorized_keys")
            || folder == ".kube";
    }
    if folder == ".docker" && name == "config.json" {
        return true;
    }
    if let Some(rest) = name.strip_prefix(".env.") {
        return !["example", "sample", "template", "dist", "defaults", "test", "ci"].contains(&rest);
    }
    if name.starts_with("service-account") || name.starts_with("service_account") {
        return name.ends_with(".json");
    }
    ENDINGS.iter().any(|ending| {
        name.strip_suffix(ending)
            .is_some_and(|stem| !stem.is_empty() && !stem.split(['-', '_', '.']).any(|word| PUBLIC.contains(&word)))
    })
}
