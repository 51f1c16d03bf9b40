//! Programs that download: from where, and to where.

use crate::script::{Command, Redirection, base_name};

/// More addresses of one command are not told one by one.
const MAX_ADDRESSES: usize = 16;

/// Letters of options that have a value, and of those the ones whose value says nothing of where something comes from.
struct Letters {
    valued: &'static str,
    quiet: &'static str,
}

const CURL: Letters = Letters {
    valued: "AbcCdDeEFhHKmoPQrtTuUwxXyYz",
    quiet: "AbcCdDeEFhHKmoPQrtTuUwXyYz",
};
const WGET: Letters = Letters {
    valued: "aABDeiIlOoPQRtTUwX",
    quiet: "aADiIlOoPQRtTUwX",
};
const OTHER: Letters = Letters {
    valued: "o",
    quiet: "o",
};

/// Long options whose value says nothing of where something comes from. The value of any other counts as an address where it
/// may be one: too many are told rather than too few.
const QUIET: [&str; 51] = [
    "ca-certificate",
    "ca-directory",
    "cacert",
    "cert",
    "cert-type",
    "ciphers",
    "config",
    "connect-timeout",
    "continue-at",
    "cookie",
    "cookie-jar",
    "data",
    "data-binary",
    "data-raw",
    "directory-prefix",
    "dns-timeout",
    "form",
    "header",
    "input-file",
    "key",
    "key-type",
    "limit-rate",
    "max-redirs",
    "max-time",
    "out",
    "output",
    "output-dir",
    "output-document",
    "output-file",
    "password",
    "progress",
    "proto",
    "proto-default",
    "proto-redir",
    "read-timeout",
    "referer",
    "request",
    "retry",
    "retry-delay",
    "retry-max-time",
    "secure-protocol",
    "speed-limit",
    "speed-time",
    "timeout",
    "tls-max",
    "tls13-ciphers",
    "tries",
    "user",
    "user-agent",
    "wait",
    "waitretry",
];

pub(super) fn is_download(command: &Command) -> bool {
    match command.program() {
        "curl" | "wget" | "wget2" | "aria2c" | "axel" | "lwp-request" | "GET" | "xh" => true,
        "http" | "https" | "lynx" | "fetch" | "ftp" => command.args().iter().any(|word| word.text.contains('.')),
        _ => false,
    }
}

/// What a download is asked for.
#[derive(Default)]
struct Asked<'c> {
    addresses: Vec<&'c str>,
    /// Files that are named, `-` for the output.
    files: Vec<&'c str>,
    /// The file is called as the address ends.
    by_name: bool,
    /// There are more addresses, in a file.
    has_list: bool,
}

impl<'c> Asked<'c> {
    fn of(command: &'c Command) -> Self {
        let letters = match command.program() {
            "curl" => CURL,
            "wget" | "wget2" => WGET,
            _ => OTHER,
        };
        let mut asked = Self::default();
        let mut args = command.args().iter().map(|word| word.text.as_str());
        while let Some(word) = args.next() {
            if word == "--" {
                asked.addresses.extend(args);
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None if QUIET.contains(&long) => (long, args.next()),
                    None => (long, None),
                };
                asked.long(name, value);
            } else if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                let at = cluster.find(|letter| letters.valued.contains(letter));
                let (plain, valued) = cluster.split_at(at.unwrap_or(cluster.len()));
                asked.by_name |= command.program() == "curl" && plain.contains('O');
                if let Some(letter) = valued.chars().next() {
                    let value = Some(&valued[letter.len_utf8()..]).filter(|value| !value.is_empty());
                    asked.short(letter, value.or_else(|| args.next()), &letters);
                }
            } else {
                asked.addresses.push(word);
            }
        }
        asked.by_name |= asked.files.is_empty() && matches!(command.program(), "wget" | "wget2" | "aria2c" | "axel");
        asked
    }

    fn long(&mut self, name: &str, value: Option<&'c str>) {
        match name {
            "output" | "output-document" | "out" => self.files.extend(value),
            "config" | "input-file" => self.has_list = true,
            "remote-name" | "remote-name-all" => self.by_name = true,
            _ if QUIET.contains(&name) => {}
            _ => self.addresses.extend(value),
        }
    }

    fn short(&mut self, letter: char, value: Option<&'c str>, letters: &Letters) {
        let is_curl = letters.valued == CURL.valued;
        match letter {
            'o' if is_curl || letters.valued == OTHER.valued => self.files.extend(value),
            'O' => self.files.extend(value),
            'K' | 'i' => self.has_list = true,
            _ if letters.quiet.contains(letter) => {}
            _ => self.addresses.extend(value),
        }
    }

    /// Files that are named and are none of the standard ones.
    fn named(&self) -> impl Iterator<Item = &'c str> {
        let mut files = self.files.clone();
        files.retain(|file| !matches!(*file, "-" | "/dev/stdout"));
        files.into_iter()
    }
}

/// Where it downloads from, each address by itself; `None` where the text names none, or a list of them.
pub(super) fn addresses(command: &Command) -> Vec<Option<String>> {
    let asked = Asked::of(command);
    let all = asked.addresses.iter().filter(|word| may_be_address(word));
    let mut found: Vec<_> = all.map(|address| Some((*address).to_owned())).collect();
    if asked.has_list || found.is_empty() || found.len() > MAX_ADDRESSES {
        found.truncate(MAX_ADDRESSES);
        found.push(None);
    }
    found
}

/// Words that are none may be passwords, which nobody wants to read in a finding.
fn may_be_address(word: &str) -> bool {
    let host = word.split(['/', ':', '?']).next().unwrap_or_default();
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_name = host.contains('.') && last.starts_with(|letter: char| letter.is_ascii_alphabetic());
    word.contains("://")
        || word.contains('$')
        || is_name
        || host == "localhost"
        || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Some of what it downloads goes to its output.
pub(super) fn prints(command: &Command) -> bool {
    let asked = Asked::of(command);
    match command.program() {
        // Each `-o` is for one address.
        "curl" => !asked.by_name && asked.named().count() < asked.addresses.len().max(1),
        "wget" | "wget2" => asked.files.iter().any(|file| matches!(*file, "-" | "/dev/stdout")),
        "aria2c" | "axel" => false,
        _ => true,
    }
}

/// The files that it writes.
pub(super) fn files(command: &Command) -> Vec<String> {
    let asked = Asked::of(command);
    let mut files: Vec<String> = asked.named().map(str::to_owned).collect();
    if asked.by_name {
        let names = asked.addresses.iter().filter_map(|address| {
            let path = address.split(['?', '#']).next()?;
            Some(base_name(path).to_owned()).filter(|name| !name.is_empty())
        });
        files.extend(names);
    }
    if prints(command) {
        let redirected = command.redirects.iter().find(|redirect| {
            redirect.kind == Redirection::Write && redirect.descriptor.is_none_or(|descriptor| descriptor == 1)
        });
        files.extend(redirected.map(|redirect| redirect.target.text.clone()));
    }
    files
}
