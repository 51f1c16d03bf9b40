//! Programs that run the rest of their line.

use super::{
    command::{Wrapper, base_name},
    word::ShellWord,
};

/// How many programs in front of each other are taken off.
const MAX_WRAPPERS: usize = 64;

/// How a wrapper's own words are told from those of what it runs.
struct Shape {
    names: &'static [&'static str],
    /// Options that have their value in the next word, letters or long names.
    valued: &'static [&'static str],
    /// Words before the program that are no options.
    operands: usize,
    /// `name=value` may stand before the program.
    assigns: bool,
}

const fn shape(
    names: &'static [&'static str],
    valued: &'static [&'static str],
    operands: usize,
    assigns: bool,
) -> Shape {
    Shape {
        names,
        valued,
        operands,
        assigns,
    }
}

static SHAPES: &[Shape] = &[
    shape(
        &["sudo"],
        &[
            "-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user", "--group", "--host",
            "--prompt", "--chdir", "--chroot",
        ],
        0,
        true,
    ),
    shape(&["doas"], &["-u", "-C"], 0, false),
    shape(&["env"], &["-u", "-C", "--unset", "--chdir"], 0, true),
    shape(&["nice"], &["-n", "--adjustment"], 0, false),
    shape(&["ionice"], &["-c", "-n", "-p", "--class", "--classdata"], 0, false),
    shape(&["chrt"], &["-T", "-P", "-D"], 1, false),
    shape(&["taskset"], &[], 1, false),
    shape(&["time"], &["-f", "-o", "--format", "--output"], 0, false),
    shape(&["exec"], &["-a"], 0, false),
    shape(&["timeout"], &["-k", "-s", "--kill-after", "--signal"], 1, false),
    shape(
        &["stdbuf"],
        &["-i", "-o", "-e", "--input", "--output", "--error"],
        0,
        false,
    ),
    shape(
        &["xargs"],
        &[
            "-a",
            "-d",
            "-E",
            "-I",
            "-L",
            "-n",
            "-P",
            "-s",
            "--arg-file",
            "--delimiter",
            "--max-args",
            "--max-procs",
            "--max-lines",
            "--max-chars",
        ],
        0,
        false,
    ),
    shape(&["chroot", "flock"], &[], 1, false),
    shape(&["su-exec", "gosu", "s6-setuidgid", "chpst"], &[], 1, false),
    shape(
        &[
            "busybox",
            "busybox.static",
            "toybox",
            "systemd-run",
            "catchsegv",
            "eatmydata",
            "fakeroot",
            "linux32",
            "linux64",
            "i386",
            "x86_64",
            "dumb-init",
            "tini",
            "setsid",
            "nohup",
            "unbuffer",
            "chronic",
            "retry",
            "ssh-agent",
            "dbus-run-session",
            "proot",
        ],
        &["-r", "-p"],
        0,
        false,
    ),
    // Their letters have no values.
    shape(&["builtin", "command"], &[], 0, false),
    shape(
        &["unshare"],
        &[
            "-S",
            "-G",
            "-R",
            "-w",
            "--setuid",
            "--setgid",
            "--root",
            "--wd",
            "--propagation",
        ],
        0,
        false,
    ),
    shape(
        &["nsenter"],
        &["-t", "-S", "-G", "--target", "--setuid", "--setgid"],
        0,
        false,
    ),
    shape(
        &["setpriv"],
        &[
            "--reuid",
            "--regid",
            "--groups",
            "--inh-caps",
            "--ambient-caps",
            "--bounding-set",
            "--securebits",
            "--selinux-label",
            "--apparmor-profile",
        ],
        0,
        false,
    ),
    shape(
        &["strace", "ltrace"],
        &["-o", "-e", "-p", "-s", "-u", "-E", "-a"],
        0,
        false,
    ),
    shape(
        &["xvfb-run"],
        &["-e", "-f", "-n", "-p", "-s", "-w", "--server-args", "--server-num"],
        0,
        false,
    ),
    shape(&["prlimit"], &["-p"], 0, false),
    shape(&["numactl"], &["-m", "-N", "-C", "-i", "-p"], 0, false),
    shape(
        &["ld.so"],
        &["--library-path", "--preload", "--audit", "--argv0"],
        0,
        false,
    ),
    shape(&["setarch"], &[], 0, false),
    shape(&["runuser"], &["-u", "-g", "-G", "--user", "--group"], 0, false),
];

/// A line without its wrappers.
#[derive(Debug, Default)]
pub(super) struct Unwrapped {
    pub(super) wrappers: Vec<Wrapper>,
    pub(super) words: Vec<ShellWord>,
    pub(super) assignments: Vec<(String, ShellWord)>,
    /// There are more wrappers than are taken off.
    pub(super) is_cut: bool,
}

/// Takes the wrappers off.
pub(super) fn unwrap(mut words: Vec<ShellWord>) -> Unwrapped {
    let mut unwrapped = Unwrapped::default();
    while let Some(end) = own_words(&words, &mut unwrapped.assignments) {
        if unwrapped.wrappers.len() >= MAX_WRAPPERS {
            unwrapped.is_cut = true;
            break;
        }
        let rest = words.split_off(end);
        let name = words.first().map(|word| base_name(word.likely()).to_owned());
        unwrapped.wrappers.push(Wrapper {
            name: name.unwrap_or_default(),
            words,
        });
        words = rest;
    }
    unwrapped.words = words;
    unwrapped
}

/// How many words belong to the wrapper that stands first; `None` when there is none, or nothing behind it.
fn own_words(words: &[ShellWord], assignments: &mut Vec<(String, ShellWord)>) -> Option<usize> {
    let name = base_name(words.first()?.likely());
    // The loader runs what it is given: `/lib64/ld-linux-x86-64.so.2 /bin/sh`.
    let is_loader = ["ld-linux", "ld-musl", "ld64.so"]
        .iter()
        .any(|loader| name.starts_with(loader));
    let name = if is_loader { "ld.so" } else { name };
    let shape = SHAPES.iter().find(|shape| shape.names.contains(&name))?;
    let mut at = 1;
    if name == "setarch" && words.get(1).is_some_and(|word| is_architecture(&word.text)) {
        at += 1;
    }
    let mut operands = shape.operands;
    let found = assignments.len();
    while let Some(word) = words.get(at) {
        let text = word.text.as_str();
        match (name, text) {
            // They ask about a program, or have the user's login shell read the rest.
            ("command", "-v" | "-V") | ("flock", "-c") | ("runuser", "-c" | "--command" | "-l" | "-") => return None,
            ("runuser", text) if text.starts_with("--command=") || text == "-lc" => return None,
            ("env", text) if split_text(text).is_some() => return None,
            _ => {}
        }
        if text == "--" {
            at += 1;
            continue;
        }
        if text.len() > 1 && text.starts_with('-') {
            at += 1 + usize::from(shape.valued.contains(&text));
            continue;
        }
        if shape.assigns
            && let Some((name, value)) = assignment(word)
        {
            assignments.push((name, value));
            at += 1;
            continue;
        }
        if operands == 0 {
            return Some(at);
        }
        operands -= 1;
        at += 1;
    }
    assignments.truncate(found);
    None
}

/// Where the text begins in an option of `env` that has one: `-S`, also behind letters without a value, and `--split-string`.
pub(super) fn split_text(option: &str) -> Option<usize> {
    let text = match option.strip_prefix("--split-string") {
        Some(text) => text.strip_prefix('=').unwrap_or(text),
        None => option
            .strip_prefix('-')?
            .trim_start_matches(['i', '0', 'v'])
            .strip_prefix('S')?,
    };
    Some(option.len() - text.len())
}

/// What `setarch` takes for a machine and not for a program.
fn is_architecture(word: &str) -> bool {
    matches!(word, "linux32" | "linux64" | "uname26")
        || [
            "x86_64", "i386", "i486", "i586", "i686", "arm", "aarch64", "ppc", "s390", "mips", "sparc", "riscv",
            "athlon",
        ]
        .iter()
        .any(|machine| word.starts_with(machine))
}

/// `name=value`, as `env` and `export` take it.
pub(super) fn assignment(word: &ShellWord) -> Option<(String, ShellWord)> {
    let (name, _) = word.text.split_once('=')?;
    let name = name.strip_suffix('+').unwrap_or(name);
    if !is_name(name) {
        return None;
    }
    let at = word.text.find('=')? + 1;
    Some((name.to_owned(), word.tail(at)))
}

/// Whether it may be the name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.split('[').next().unwrap_or(name);
    name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}
