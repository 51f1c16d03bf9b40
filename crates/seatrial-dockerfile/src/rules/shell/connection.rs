//! ST403: a program that is joined to a connection.

use super::{At, Sink, inline, is_loopback, is_one_of, letter, quoted, texts};
use crate::{
    rules::catalogue::ST403,
    script::{Command, Redirect, Redirection, Script, ShellWord, base_name, is_shell},
};

/// How many pipes with names are remembered.
const MAX_PIPES: usize = 16;

/// Bash's own network: the host in `/dev/tcp/host/port`.
fn dev_tcp(text: &str) -> Option<&str> {
    let at = text.find("/dev/tcp/").or_else(|| text.find("/dev/udp/"))?;
    text.get(at + "/dev/tcp/".len()..)?.split('/').next()
}

/// Whether an awk program names a connection that leaves the machine: `/inet/tcp/port/host/port`.
fn leaves_by_inet(text: &str) -> bool {
    text.match_indices("/inet").any(|(at, found)| {
        let rest = text.get(at + found.len()..).unwrap_or_default();
        let rest = rest.trim_start_matches(['4', '6']);
        let path = rest.strip_prefix("/tcp/").or_else(|| rest.strip_prefix("/udp/"));
        path.is_some_and(|path| path.split('/').nth(1).is_none_or(|host| !is_loopback(host)))
    })
}

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let program = command.program();
    let args = command.args();
    for redirect in &command.redirects {
        if redirect.kind == Redirection::Here {
            continue;
        }
        let Some(host) = dev_tcp(&redirect.target.text) else {
            continue;
        };
        let is_fed_to_shell = || {
            at.script
                .commands
                .get(at.index + 1)
                .is_some_and(|next| next.pipeline == command.pipeline && next.is_shell())
        };
        // Waiting for a port is done with the same paths, most often of this machine or of a variable, and puts nothing
        // on the connection.
        let is_outside = !is_loopback(host) && !host.contains('$');
        // In a subshell it ends with that.
        let stays_open = !command.context.subshell && (program == "exec" || redirect.kind == Redirection::ReadWrite);
        // With one of the first three everything that follows is on the connection.
        let is_run = match redirect.descriptor {
            Some(3..) => at.overview.runs_what_it_reads,
            _ => at.overview.runs,
        };
        if command.is_shell() || (is_outside && stays_open && is_run) || is_fed_to_shell() {
            sink.report(&ST403, redirect.span, || {
                format!(
                    "{} talks to {}",
                    if program.is_empty() { "a shell" } else { program },
                    quoted(&redirect.target.text)
                )
            });
        }
    }
    let Some(word) = command.words.first() else { return };
    if let ("." | "source", Some(file)) = (program, args.first())
        && dev_tcp(&file.text).is_some()
    {
        sink.report(&ST403, file.span, || format!("the shell reads {}", quoted(&file.text)));
        return;
    }
    let found = match program {
        _ if is_netcat(program) => {
            let names_shell = args.iter().find(|word| names_shell(&word.text));
            // A server that answers with what one program says is no shell.
            let listens =
                letter(command, 'l', "ipqswXxTIPVMmGgbec").is_some() || command.flag('\0', "listen").is_some();
            let executes = args
                .iter()
                .find(|word| matches!(word.text.split('=').next(), Some("--exec" | "--sh-exec" | "--lua-exec")));
            executes
                .filter(|_| !listens || names_shell.is_some())
                .or_else(|| letter(command, 'e', "ipqswXxTIPVMmGgb").filter(|_| names_shell.is_some()))
                .or_else(|| letter(command, 'c', "ipqswXxTIPVMmGgb").filter(|_| names_shell.is_some()))
        }
        "socat" => socat(args),
        "awk" | "gawk" => args.iter().find(|word| leaves_by_inet(&word.text)),
        _ => scripted(command, program),
    };
    if let Some(found) = found {
        sink.report(&ST403, found.span, || {
            format!("{program} joins a program to a connection: {}", quoted(&found.text))
        });
        return;
    }
    // A connection in a pipeline with a shell.
    if let Some(pipe) = named_pipe(at) {
        sink.report(&ST403, word.span, || {
            format!("{program} is joined to a connection by {}", quoted(&pipe.text))
        });
        return;
    }
    let runs_input = is_fed_shell(command);
    if is_connection(command) || runs_input {
        let feeders = at.script.feeders(at.index);
        let other = feeders
            .iter()
            .filter_map(|feeder| at.script.commands.get(*feeder))
            .find(|feeder| {
                if runs_input {
                    is_connection(feeder)
                } else {
                    let is_given = |redirect: &Redirect| match redirect.kind {
                        Redirection::Here => true,
                        Redirection::Read => !at.overview.pipes.contains(&redirect.target.text.as_str()),
                        _ => false,
                    };
                    feeder.is_shell()
                        && feeder.pipeline == command.pipeline
                        && !feeder.redirects.iter().any(is_given)
                        && letter(feeder, 'c', "oO").is_none()
                        && feeder.operands_without(&["-o", "-O"]).next().is_none()
                }
            });
        if let Some(other) = other {
            sink.report(&ST403, word.span, || {
                format!(
                    "{} and {program} are joined to a shell on a connection",
                    other.program()
                )
            });
        }
    }
}

/// A shell that reads its input.
fn is_fed_shell(command: &Command) -> bool {
    command.is_shell()
        && letter(command, 'c', "oO").is_none()
        && command.operands_without(&["-o", "-O"]).all(|word| word.text == "-")
}

fn is_netcat(program: &str) -> bool {
    matches!(program, "nc" | "ncat" | "netcat" | "nc.traditional" | "nc.openbsd")
}

fn is_connection(command: &Command) -> bool {
    match command.program() {
        "telnet" | "socat" => true,
        "openssl" => command.args().first().is_some_and(|word| word.text == "s_client"),
        program => is_netcat(program),
    }
}

/// What a command writes came over a connection.
pub(super) fn reads_connection(command: &Command) -> bool {
    let redirected = command
        .redirects
        .iter()
        .any(|redirect| redirect.kind == Redirection::Read && dev_tcp(&redirect.target.text).is_some());
    redirected || is_connection(command)
}

/// What rules of connections need to know of a whole script.
pub(super) struct Overview<'a> {
    /// Something runs what it reads: a shell, `eval`, or a variable that is taken for a program.
    runs: bool,
    /// And something reads from a descriptor.
    runs_what_it_reads: bool,
    /// Pipes with a name, in a script that opens a connection.
    pipes: Vec<&'a str>,
}

impl<'a> Overview<'a> {
    pub(super) fn of(script: &'a Script) -> Self {
        let mut reads = false;
        let mut runs = false;
        let mut connects = false;
        let mut pipes = Vec::new();
        // Variables that hold what was read.
        let mut read: Vec<&str> = Vec::new();
        for command in &script.commands {
            let program = command.program();
            let is_read = matches!(program, "read" | "mapfile" | "readarray");
            if is_read && read.len() < MAX_PIPES {
                read.extend(command.operands().take(MAX_PIPES).map(|word| word.text.as_str()));
            }
            reads |= (is_read && letter(command, 'u', "").is_some())
                || command.redirects.iter().any(|redirect| {
                    let number = redirect.target.text.trim_start_matches('&');
                    redirect.kind == Redirection::Duplicate
                        && redirect.descriptor == Some(0)
                        && number.parse::<u32>().is_ok_and(|number| number > 2)
                });
            let holds_read = |word: &ShellWord| word.variable().is_some_and(|name| read.contains(&name));
            runs |= is_fed_shell(command)
                || (program == "eval" && command.args().iter().any(holds_read))
                || command.words.first().is_some_and(holds_read);
            connects |= is_connection(command);
            if matches!(program, "mkfifo" | "mknod") && pipes.len() < MAX_PIPES {
                pipes.extend(command.operands().take(MAX_PIPES).map(|word| word.text.as_str()));
            }
        }
        Self {
            runs,
            runs_what_it_reads: reads && runs,
            pipes: if connects { pipes } else { Vec::new() },
        }
    }
}

/// The pipe with a name from which a shell reads.
fn named_pipe<'s>(at: At<'s>) -> Option<&'s ShellWord> {
    let command = at.command;
    if at.overview.pipes.is_empty() || !command.is_shell() || letter(command, 'c', "oO").is_some() {
        return None;
    }
    let redirected = command
        .redirects
        .iter()
        .filter(|redirect| redirect.kind == Redirection::Read)
        .map(|redirect| &redirect.target);
    let mut inputs = redirected.chain(command.operands_without(&["-o", "-O"]));
    inputs.find(|word| at.overview.pipes.contains(&word.text.as_str()))
}

/// Whether one of the words of a text is a shell.
fn names_shell(text: &str) -> bool {
    text.split([' ', '=', '\'', '"']).any(is_shell_path)
}

fn is_shell_path(text: &str) -> bool {
    is_shell(base_name(text.trim_start_matches("-e").trim_start_matches("-c"))) || matches!(text, "cmd" | "cmd.exe")
}

/// How a language opens a connection, and how it puts a program on one.
struct Language {
    names: &'static [&'static str],
    opens: &'static [&'static str],
    joins: &'static [&'static str],
    /// One of these besides, if there are any: only together they say that the program is on the connection.
    with: &'static [&'static str],
    /// Runs what it is called with: with `reads` that may be the text of the connection.
    runs: &'static [&'static str],
    reads: &'static [&'static str],
}

const LANGUAGES: [Language; 6] = [
    Language {
        names: &["python"],
        opens: &["socket"],
        joins: &["os.dup2", "pty.spawn", "stdin=s.", "stdin=s,", "stdin=sock"],
        with: &[],
        runs: &[
            "subprocess.run(",
            "subprocess.call(",
            "subprocess.check_output(",
            "subprocess.Popen(",
            "subprocess.getoutput(",
            "os.system(",
            "os.popen(",
            "exec(",
            "eval(",
        ],
        reads: &[".recv(", ".makefile("],
    },
    Language {
        names: &["perl"],
        opens: &["Socket"],
        joins: &[
            ">&S",
            "fdopen(",
            "exec{\"/bin",
            "exec(\"/bin",
            "/bin/sh -i",
            "/bin/bash -i",
        ],
        with: &[],
        runs: &["system(", "qx(", "qx{", "`$"],
        reads: &["<$", "readline"],
    },
    Language {
        names: &["php"],
        opens: &["fsockopen", "stream_socket_client", "socket_connect"],
        joins: &["/bin/sh", "/bin/bash", "sh -i", "proc_open"],
        with: &["<&", ">&", "proc_open"],
        runs: &["shell_exec", "exec(", "system(", "passthru(", "popen("],
        reads: &["fgets(", "fread(", "stream_get_", "socket_read("],
    },
    Language {
        names: &["ruby"],
        opens: &["TCPSocket"],
        joins: &["/bin/sh", "/bin/bash", "sh -i", "IO.popen"],
        with: &[],
        runs: &["system(", "`#{", "popen("],
        reads: &[".gets", ".recv"],
    },
    Language {
        names: &["node", "nodejs"],
        opens: &[
            "net.connect",
            "net.Socket",
            "createConnection",
            "require(\"net\")",
            "require('net')",
        ],
        joins: &["/bin/sh", "/bin/bash"],
        with: &[".pipe("],
        runs: &["exec(", "execSync("],
        reads: &[".on(\"data\"", ".on('data'"],
    },
    Language {
        names: &["lua", "luajit"],
        opens: &[
            "require\"socket",
            "require'socket",
            "require(\"socket",
            "require('socket",
            "socket.tcp",
            "socket.connect",
        ],
        joins: &["io.popen", "os.execute"],
        with: &["receive", "<&"],
        runs: &[],
        reads: &[],
    },
];

/// A program in a language that opens a connection and puts a shell on it, or runs what it reads there.
fn scripted<'c>(command: &'c Command, program: &str) -> Option<&'c ShellWord> {
    let language = LANGUAGES.iter().find(|language| is_one_of(program, language.names))?;
    texts(command).find(|word| {
        let holds = |any: &[&str]| any.iter().any(|one| word.text.contains(one));
        let runs = || language.runs.iter().any(|name| inline::calls(&word.text, name));
        let joins = || holds(language.joins) && (language.with.is_empty() || holds(language.with));
        holds(language.opens) && (joins() || (holds(language.reads) && runs()))
    })
}

/// `socat` joins a connection to a shell, or calls out and joins that to any program.
fn socat(args: &[ShellWord]) -> Option<&ShellWord> {
    let lower: Vec<String> = args.iter().map(|word| word.text.to_ascii_lowercase()).collect();
    let calls_out = lower.iter().any(|text| {
        ["tcp:", "tcp4:", "tcp6:", "tcp-connect:", "openssl:", "udp:", "udp4:"]
            .iter()
            .any(|kind| text.starts_with(kind))
    });
    let is_online = lower.iter().any(|text| {
        [
            "tcp", "udp", "openssl", "ssl", "sctp", "vsock", "socks", "proxy", "unix",
        ]
        .iter()
        .any(|kind| text.starts_with(kind))
    });
    let found = lower.iter().position(|text| {
        let program = ["exec:", "system:", "shell:"]
            .iter()
            .find_map(|kind| text.strip_prefix(kind));
        program.is_some_and(|program| {
            let program = program.trim_matches(['"', '\'']).split([' ', ',', '"', '\'']).next();
            calls_out || (is_online && program.is_some_and(is_shell_path))
        })
    })?;
    args.get(found)
}
