//! ST017: the container engine's socket, and paths by which containers are left.
//!
//! A shell takes `/var/run/dock""er\.sock` and `$d/docker.sock` for the path, so the text is first
//! brought to what a shell would see: quotes and escapes dropped, known variables put in, repeated
//! slashes made one. The way back to the file is kept byte by byte.

use seatrial_core::finding::Span;

use super::{
    Progress,
    catalogue::ST017,
    needle::Needles,
    outline::{cleaned, is_in},
    sink::{Sink, quoted},
};
use crate::{
    ast::{Args, Instruction, Keyword, Word},
    script::{Redirection, Script},
};

/// Names that mean trouble under any folder.
static NAMES: Needles = Needles::new(
    &[
        "buildkitd.sock",
        "containerd.sock",
        "core_pattern",
        "cri-dockerd.sock",
        "crio.sock",
        "docker.sock",
        "dockershim.sock",
        "kubelet.sock",
        "notify_on_release",
        "podman.sock",
        "release_agent",
        "sysrq-trigger",
        "uevent_helper",
    ],
    0,
);

/// Absolute paths, and all below them.
static PATHS: Needles = Needles::new(
    &[
        "/dev/xvda",
        "/dev/vda",
        "/dev/sda",
        "/dev/port",
        "/dev/nvme0n1",
        "/dev/mem",
        "/dev/kmem",
        "/etc/kubernetes",
        "/hostfs",
        "/host_mnt",
        "/host/var",
        "/host/sys",
        "/host/run",
        "/host/root",
        "/host/proc",
        "/host/home",
        "/host/etc",
        "/host/dev",
        "/host/boot",
        "/mnt/host",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/fs/binfmt_misc",
        "/proc/kmem",
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/1/root",
        "/proc/1/ns",
        "/proc/1/mem",
        "/proc/1/fd",
        "/proc/1/environ",
        "/proc/1/cwd",
        "/pipe/docker_engine",
        "/run/secrets/kubernetes.io",
        "/run/podman",
        "/run/docker",
        "/run/crio",
        "/run/containerd",
        "/sys/kernel/security",
        "/sys/firmware/efi/efivars",
        "/var/run/secrets/kubernetes.io",
        "/var/run/podman",
        "/var/run/docker",
        "/var/run/crio",
        "/var/run/containerd",
        "/var/lib/kubelet",
        "/var/lib/docker",
        "/var/lib/containerd",
    ],
    1,
);

/// The host's root as an argument of a command that mounts or enters it.
static PHRASES: Needles = Needles::new(
    &["-v /:/", "--volume=/:/", "--volume /:/", "chroot /host", "source=/,"],
    0,
);

/// Folders of the kernel, which a volume would cover or hand out.
const KERNEL_FOLDERS: [&str; 4] = ["/proc", "/sys", "/dev", "/boot"];

pub(super) fn judge(instruction: &Instruction, progress: &Progress, sink: &mut Sink<'_>) {
    let inner = instruction.trigger().unwrap_or(instruction);
    match inner.keyword {
        Keyword::Add
        | Keyword::Arg
        | Keyword::Cmd
        | Keyword::Copy
        | Keyword::Entrypoint
        | Keyword::Env
        | Keyword::Healthcheck
        | Keyword::Run
        | Keyword::Shell
        | Keyword::Volume
        | Keyword::Workdir => {}
        Keyword::Expose
        | Keyword::From
        | Keyword::Label
        | Keyword::Maintainer
        | Keyword::Onbuild
        | Keyword::Stopsignal
        | Keyword::User
        | Keyword::Unknown => return,
    }
    let logical = &instruction.logical;
    let strings = json_strings(inner);
    let decoded = strings.iter().any(|word| sink.parsed().slice(word.span).contains('\\'));
    scan(&logical.text, progress, |from, to| logical.span(from, to), sink);
    if decoded {
        for word in strings {
            scan(&word.value, progress, |_, _| word.span, sink);
        }
    }
    for heredoc in &instruction.heredocs {
        let start = heredoc.body_span.start;
        scan(
            &heredoc.body,
            progress,
            |from, to| Span::new(start + from, start + to),
            sink,
        );
    }
    if inner.keyword == Keyword::Volume {
        for word in inner.words() {
            let path = Shown::new(&progress.variables.expand_here(&word.value, false).text, progress);
            let path = cleaned(&String::from_utf8_lossy(&path.bytes));
            if path == "/" || KERNEL_FOLDERS.iter().any(|folder| is_in(&path, folder)) {
                sink.report(&ST017, word.span, || format!("VOLUME takes {}", quoted(&path)));
            }
        }
    }
}

/// Paths that a script puts together from its own variables.
pub(super) fn judge_script(script: &Script, progress: &Progress, sink: &mut Sink<'_>) {
    for command in &script.commands {
        let targets = command.redirects.iter().filter(|one| one.kind != Redirection::Here);
        let words = command.words.iter().chain(targets.map(|redirect| &redirect.target));
        // A variable may make many words of one that is written: that is looked at once.
        let mut last: Option<(Span, bool)> = None;
        for word in words {
            let written = sink.parsed().slice(word.span);
            if !written.contains('$') || written == word.text {
                continue;
            }
            let found = |text: &str| {
                let shown = Shown::new(text, progress);
                let (start, end) = shown.found(0)?;
                Some(shown.text(start, end))
            };
            let is_told = match last {
                Some((span, is_told)) if span == word.span => is_told,
                _ => found(written).is_some(),
            };
            last = Some((word.span, is_told));
            if is_told {
                continue; // with the instruction
            }
            if let Some(path) = found(&word.text) {
                sink.report(&ST017, word.span, || format!("{} is named", quoted(&path)));
            }
        }
    }
}

fn json_strings(instruction: &Instruction) -> &[Word] {
    match &instruction.args {
        Args::Json(words) => words,
        Args::Health(health) => match &*health.command {
            Args::Json(words) => words,
            _ => &[],
        },
        Args::None | Args::Text(_) | Args::List(_) | Args::Pairs(_) | Args::Trigger(_) => &[],
    }
}

fn scan(text: &str, progress: &Progress, place: impl Fn(usize, usize) -> Span, sink: &mut Sink<'_>) {
    let shown = Shown::new(text, progress);
    let mut at = 0;
    while let Some((start, end)) = shown.found(at) {
        let from = shown.origin(start);
        let to = shown.origin(end - 1) + 1;
        sink.report(&ST017, place(from, to.max(from + 1)), || {
            format!("{} is named", quoted(&shown.text(start, end)))
        });
        at = end;
    }
}

/// What begins at `at`, widened to the whole path.
fn found_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let before = at.checked_sub(1).map(|before| bytes[before]);
    let behind = |len: usize| bytes.get(at + len).copied();
    if let Some(name) = NAMES.at(bytes, at) {
        let whole = !before.is_some_and(word) && !behind(name.len()).is_some_and(word);
        return whole.then(|| widened(bytes, at, at + name.len()));
    }
    if let Some(path) = PATHS.at(bytes, at) {
        let absolute = !before.is_some_and(|byte| word(byte) || matches!(byte, b'.' | b'~' | b'}' | UNKNOWN));
        let device = path.starts_with("/dev/");
        // `/run/docker.sh` is another file.
        let goes_on = behind(path.len()) == Some(b'.') && behind(path.len() + 1).is_some_and(word);
        let ends = behind(path.len()).is_none_or(|byte| !word(byte) || (device && byte.is_ascii_digit())) && !goes_on;
        return (absolute && ends).then(|| widened(bytes, at, at + path.len()));
    }
    let phrase = PHRASES.at(bytes, at)?;
    let end = at + phrase.len();
    if phrase == "source=/," && is_of_stage(bytes, at) {
        return None;
    }
    let ends = phrase != "chroot /host" || !behind(phrase.len()).is_some_and(|byte| word(byte) || byte == b'.');
    (ends && !before.is_some_and(word)).then_some((at, end))
}

/// Whether the mount that holds a place takes from another stage or image, and not from the host.
fn is_of_stage(bytes: &[u8], at: usize) -> bool {
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let before = bytes[..at]
        .iter()
        .rev()
        .take(256)
        .take_while(|byte| !blank(byte))
        .count();
    let behind = bytes[at..].iter().take(256).take_while(|byte| !blank(byte)).count();
    let mount = &bytes[at - before..at + behind];
    mount
        .split(|byte| matches!(byte, b',' | b'='))
        .any(|field| field == b"from")
}

fn widened(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    let path = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    // Before the word only as far as a path reasonably goes: the text behind was looked at already.
    let from = start
        - bytes[..start]
            .iter()
            .rev()
            .take(64)
            .take_while(|byte| path(byte))
            .count();
    let to = end + bytes[end..].iter().take(64).take_while(|byte| path(byte)).count();
    (from, to)
}

/// Stands for a variable whose value nobody knows; it may be a folder.
const UNKNOWN: u8 = 1;

/// Text as a shell sees it.
#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    /// Where pieces begin, here and in the source; within a piece both go on together.
    pieces: Vec<(usize, usize)>,
}

impl Shown {
    /// The next thing that is looked for, from `at` on.
    fn found(&self, at: usize) -> Option<(usize, usize)> {
        let may_begin = |byte: u8| PATHS.may_begin(byte) || NAMES.may_begin(byte) || PHRASES.may_begin(byte);
        let rest = self.bytes.get(at..)?.iter().enumerate();
        rest.filter(|(_, byte)| may_begin(**byte))
            .find_map(|(offset, _)| found_at(&self.bytes, at + offset))
    }

    fn text(&self, start: usize, end: usize) -> String {
        String::from_utf8_lossy(self.bytes.get(start..end).unwrap_or_default()).into_owned()
    }

    fn new(text: &str, progress: &Progress) -> Self {
        let source = text.as_bytes();
        let mut shown = Self::default();
        shown.bytes.reserve(source.len());
        let mut at = 0;
        while at < source.len() {
            let plain = source[at..]
                .iter()
                .take_while(|byte| !matches!(byte, b'\\' | b'\'' | b'"' | b'`' | b'$' | b'/'))
                .count();
            if plain > 0 {
                shown.begin(at);
                shown.bytes.extend_from_slice(&source[at..at + plain]);
                at += plain;
                continue;
            }
            match source[at] {
                b'\\' if source[at + 1..].starts_with(b"\n") => at += 2,
                b'\\' if source[at + 1..].starts_with(b"\r\n") => at += 3,
                b'$' => at = shown.variable(text, at, progress),
                b'/' => {
                    shown.slash(at);
                    at += 1;
                }
                _ => at += 1,
            }
        }
        shown
    }

    fn begin(&mut self, at: usize) {
        let here = self.bytes.len();
        let goes_on = self
            .pieces
            .last()
            .is_some_and(|(start, origin)| origin + (here - start) == at);
        if !goes_on {
            self.pieces.push((here, at));
        }
    }

    fn push(&mut self, byte: u8, at: usize) {
        self.begin(at);
        self.bytes.push(byte);
    }

    /// A slash, unless one stands there already; `/./` is one as well.
    fn slash(&mut self, at: usize) {
        if self.bytes.ends_with(b"/.") {
            self.bytes.pop();
            while self.pieces.last().is_some_and(|(start, _)| *start >= self.bytes.len()) {
                self.pieces.pop();
            }
        }
        if !self.bytes.ends_with(b"/") {
            self.push(b'/', at);
        }
    }

    /// Where in the source a byte came from.
    fn origin(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(start, _)| *start <= at);
        match piece.checked_sub(1).and_then(|piece| self.pieces.get(piece)) {
            Some((start, origin)) => origin + (at - start),
            None => at,
        }
    }

    /// Puts in what stands at a `$`; returns where the text goes on.
    fn variable(&mut self, text: &str, at: usize, progress: &Progress) -> usize {
        let source = text.as_bytes();
        let braced = source.get(at + 1) == Some(&b'{');
        let start = at + 1 + usize::from(braced);
        let len = source[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let mut end = start + len;
        if braced {
            if source.get(end) != Some(&b'}') {
                // `${x:-path}`: what follows is read as text, in the place of a variable that nothing sets.
                let operator = source[end..]
                    .iter()
                    .take_while(|byte| matches!(byte, b':' | b'-' | b'=' | b'+'))
                    .count();
                if operator == 0 {
                    self.push(UNKNOWN, at);
                }
                return end + operator;
            }
            end += 1;
        }
        if len == 0 {
            // `$@` and `$*` are empty in a step.
            let empty = matches!(source.get(start), Some(b'@' | b'*'));
            if !empty {
                self.push(b'$', at);
            }
            return if empty { start + 1 } else { start };
        }
        if let Some(value) = progress.variables.value(&text[start..start + len]) {
            for byte in value.bytes().filter(|byte| !matches!(byte, b'\\' | b'\'' | b'"')) {
                if byte == b'/' {
                    self.slash(at);
                } else {
                    self.push(byte, at);
                }
            }
            return end;
        }
        // Within a word it is most likely unset and there to hide the word.
        let inside = self.bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && source.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if !inside {
            self.push(UNKNOWN, at);
        }
        end
    }
}
