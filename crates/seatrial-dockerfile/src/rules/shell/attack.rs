//! ST404 to ST406: miners, attempts at the walls, and exhaustion.

use super::{At, Sink, Variable, quoted, texts};
use crate::{
    ast::Heredoc,
    rules::catalogue::{ST404, ST405, ST406},
    script::{Command, Redirection, ShellWord},
};
use seatrial_core::finding::Span;

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    miner(at, sink);
    walls(at, sink);
    bomb(at, sink);
}

const MINERS: [&str; 18] = [
    "xmrig",
    "xmrig-cuda",
    "xmr-stak",
    "xmr-stak-rx",
    "minerd",
    "cpuminer",
    "cpuminer-multi",
    "ethminer",
    "nbminer",
    "phoenixminer",
    "lolminer",
    "cgminer",
    "bfgminer",
    "nanominer",
    "ccminer",
    "t-rex",
    "teamredminer",
    "gminer",
];

/// Parts of texts that only miners use.
const MINING: [&str; 14] = [
    "stratum+tcp:",
    "stratum+ssl:",
    "stratum+tls:",
    "stratum2+tcp:",
    "supportxmr.com",
    "minexmr.com",
    "nanopool.org",
    "moneroocean.stream",
    "2miners.com",
    "hashvault.pro",
    "c3pool.com",
    "minergate.com",
    "nicehash.com",
    "f2pool.com",
];

/// A protocol that only miners speak, or a pool with the port that they speak to.
fn pool(text: &str) -> Option<&'static str> {
    if !text.contains(':') {
        return None;
    }
    let text = text.to_ascii_lowercase();
    MINING.iter().copied().find(|part| {
        text.find(part).is_some_and(|at| {
            let behind = text.get(at + part.len()..).unwrap_or_default();
            part.ends_with(':')
                || behind
                    .strip_prefix(':')
                    .is_some_and(|port| port.starts_with(|digit: char| digit.is_ascii_digit()))
        })
    })
}

fn miner(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let program = command.program();
    if let Some(word) = command.words.first()
        && MINERS.iter().any(|miner| program.eq_ignore_ascii_case(miner))
    {
        sink.report(&ST404, word.span, || format!("{program} is a miner"));
        return;
    }
    // What is only shown on the screen runs nothing.
    let goes_on = || {
        let next = at.script.commands.get(at.index + 1);
        next.is_some_and(|next| next.pipeline == command.pipeline)
    };
    let only_shown = matches!(program, "echo" | "printf" | "grep" | ":") && command.redirects.is_empty() && !goes_on();
    if only_shown {
        return;
    }
    let fetches =
        super::download::is_download(command) || matches!(program, "git" | "tar" | "unzip" | "mv" | "cp" | "chmod");
    for word in texts(command) {
        let pool = pool(&word.text);
        let fetched = || {
            let name = word.text.rsplit("://").next().unwrap_or_default().to_ascii_lowercase();
            fetches
                && MINERS
                    .iter()
                    .take(8)
                    .any(|miner| name.split('/').any(|part| is_release(part, miner)))
        };
        if let Some(part) = pool {
            sink.report(&ST404, word.span, || {
                format!("{} is an address of a mining pool", quoted(part))
            });
        } else if fetched() {
            sink.report(&ST404, word.span, || format!("{} is a miner", quoted(&word.text)));
        }
    }
}

/// The name by itself, or with a version or an ending: not one that only begins so.
fn is_release(part: &str, name: &str) -> bool {
    part.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '_', '@', ':']))
}

/// A file that `COPY` holds.
pub(super) fn document(heredoc: &Heredoc, sink: &mut Sink<'_>) {
    for part in heredoc
        .body
        .split_inclusive('\n')
        .scan(heredoc.body_span.start, |at, line| {
            let start = *at;
            *at += line.len();
            Some((Span::new(start, start + line.trim_end().len()), line))
        })
    {
        if let Some(found) = pool(part.1) {
            sink.report(&ST404, part.0, || {
                format!("{} is an address of a mining pool", quoted(found))
            });
        }
    }
}

pub(super) fn variable(variable: &Variable<'_>, sink: &mut Sink<'_>) {
    if let Some(part) = pool(variable.value) {
        sink.report(&ST404, variable.span, || {
            format!("{} is an address of a mining pool", quoted(part))
        });
    }
}

/// Programs that look for a way out.
const PROBES: [&str; 9] = [
    "nsenter",
    "unshare",
    "insmod",
    "modprobe",
    "kexec",
    "deepce.sh",
    "amicontained",
    "linpeas.sh",
    "botb",
];

fn walls(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let args = command.args();
    let wrapper = command
        .wrappers
        .iter()
        .find(|wrapper| matches!(wrapper.name.as_str(), "nsenter" | "unshare"))
        .and_then(|wrapper| wrapper.words.first());
    let program = command.program();
    let own = command.words.first().filter(|_| PROBES.contains(&program));
    if let Some(word) = wrapper.or(own) {
        sink.report(&ST405, word.span, || format!("{} has no use here", quoted(&word.text)));
        return;
    }
    let found = match program {
        "mknod" => device(command),
        "mount" => {
            let kind = command.value('t', "types");
            let is_kernel = kind.is_some_and(|kind| {
                matches!(
                    kind,
                    "cgroup" | "cgroup2" | "debugfs" | "securityfs" | "tracefs" | "devtmpfs" | "configfs"
                )
            });
            let disk = |word: &&ShellWord| {
                ["/dev/sd", "/dev/vd", "/dev/xvd", "/dev/nvme", "/dev/mapper", "/dev/dm-"]
                    .iter()
                    .any(|disk| word.text.starts_with(disk))
            };
            args.iter()
                .find(disk)
                .or_else(|| command.words.first().filter(|_| is_kernel))
        }
        "sysctl" => args.iter().find(|word| {
            [
                "kernel.core_pattern",
                "kernel.modprobe",
                "kernel.hotplug",
                "fs.binfmt_misc",
            ]
            .iter()
            .any(|name| word.text.starts_with(name) && word.text.contains('='))
        }),
        "debugfs" => args.iter().find(|word| word.text.starts_with("/dev/")),
        _ if super::download::is_download(command) => args.iter().find(|word| {
            let name = crate::script::base_name(&word.text);
            matches!(name, "deepce.sh" | "linpeas.sh" | "amicontained" | "cdk_linux_amd64")
        }),
        _ => None,
    };
    if let Some(word) = found {
        sink.report(&ST405, word.span, || {
            format!("{program} {} reaches for the host", quoted(&word.text))
        });
    }
}

/// A device node that is more than those that every container has.
fn device(command: &Command) -> Option<&ShellWord> {
    let operands: Vec<_> = command.operands_without(&["-m", "--mode"]).collect();
    let [_, kind, rest @ ..] = operands.as_slice() else {
        return None;
    };
    match (kind.text.as_str(), rest) {
        ("b", _) => Some(kind),
        ("c" | "u", [major, minor, ..]) => {
            let usual = [
                "1:3", "1:5", "1:7", "1:8", "1:9", "1:11", "5:0", "5:1", "5:2", "4:0", "4:1", "10:200", "10:229",
            ];
            let node = format!("{}:{}", major.text, minor.text);
            (major.sure && minor.sure && !usual.contains(&node.as_str())).then_some(kind)
        }
        _ => None,
    }
}

/// Sizes from here on are meant to fill a disk.
const MANY_BYTES: u64 = 8 << 30;

fn bomb(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let Some(word) = command.words.first() else { return };
    let program = command.program();
    let writes = command.redirects.iter().any(|redirect| {
        matches!(redirect.kind, Redirection::Write | Redirection::Append) && redirect.target.text != "/dev/null"
    });
    let endless = ["/dev/zero", "/dev/urandom", "/dev/random", "/dev/full"];
    let reason = match program {
        "stress" | "stress-ng" | "forkbomb" => Some("loads the machine"),
        "fallocate" | "truncate" => {
            let size = command.value(
                if program == "truncate" { 's' } else { 'l' },
                if program == "truncate" { "size" } else { "length" },
            );
            size.and_then(bytes)
                .filter(|bytes| *bytes >= MANY_BYTES)
                .map(|_| "makes a huge file")
        }
        "dd" => dd(command).then_some("writes without an end that a build needs"),
        "yes" => writes.then_some("writes without an end"),
        "cat" => (writes && command.args().iter().any(|word| endless.contains(&word.text.as_str())))
            .then_some("writes without an end"),
        "head" => {
            let size = command.value('c', "bytes").and_then(bytes);
            (size.is_some_and(|size| size >= MANY_BYTES)).then_some("writes a huge file")
        }
        _ => is_fork_bomb(at).then_some("starts itself again and again"),
    };
    if let Some(reason) = reason {
        sink.report(&ST406, word.span, || format!("{} {reason}", quoted(&word.text)));
    }
}

/// A function that calls itself in the background or twice in a pipeline.
fn is_fork_bomb(at: At<'_>) -> bool {
    let command = at.command;
    let name = command.words.first().map_or("", |word| word.text.as_str());
    if command.via != crate::script::Via::Call || !(command.context.background || command.position > 0) {
        return false;
    }
    let caller = command.parent.and_then(|parent| at.script.commands.get(parent));
    caller.is_some_and(|caller| caller.words.first().is_some_and(|word| word.text == name))
}

fn dd(command: &Command) -> bool {
    let value = |name: &str| {
        command
            .args()
            .iter()
            .find_map(|word| word.text.strip_prefix(name)?.strip_prefix('='))
    };
    let from_endless = value("if").is_some_and(|file| matches!(file, "/dev/zero" | "/dev/urandom" | "/dev/random"));
    if !from_endless || matches!(value("of"), None | Some("/dev/null" | "/dev/stdout")) {
        return false;
    }
    let block = value("bs").and_then(bytes).unwrap_or(512);
    match value("count") {
        Some(count) => bytes(count).is_some_and(|count| count.saturating_mul(block) >= MANY_BYTES),
        None => true,
    }
}

/// `10G`, `512`, `4MiB`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.bytes().next().map(|byte| byte.to_ascii_uppercase()) {
        None | Some(b'B' | b'C') => 0,
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(_) => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).or(Some(u64::MAX))
}
