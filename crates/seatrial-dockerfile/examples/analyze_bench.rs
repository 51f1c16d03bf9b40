//! Times the parser, and parser and rules together, over the corpus beside the checkout and over
//! hostile texts of 1 MiB.
//!
//! `cargo run --release -p seatrial-dockerfile --example analyze_bench`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::{fs, path::Path, time::Instant};

use seatrial_dockerfile::{
    parse,
    rules::{self, Context},
};

const MIB: usize = 1 << 20;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/files");
    match fs::read_dir(&folder) {
        Ok(entries) => {
            let files: Vec<Vec<u8>> = entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
            real(&files);
        }
        Err(error) => println!("no corpus at {}: {error}", folder.display()),
    }
    growth();
    for (name, text) in hostile() {
        let parsed = best(text.as_bytes(), parse_only);
        let judged = best(text.as_bytes(), parse_and_analyze);
        println!(
            "{name:28} {:8} bytes, parse {parsed:8.2} ms, with rules {judged:8.2} ms",
            text.len()
        );
    }
}

fn parse_only(bytes: &[u8]) {
    std::hint::black_box(parse(bytes));
}

fn parse_and_analyze(bytes: &[u8]) {
    let allowed = |name: &str| name.starts_with("docker.io/library/");
    let parsed = parse(bytes);
    std::hint::black_box(rules::analyze(
        bytes,
        &parsed,
        &Context {
            allowed: &allowed,
            pinned: false,
        },
    ));
}

/// The best of five, in milliseconds.
fn best(bytes: &[u8], work: fn(&[u8])) -> f64 {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            work(std::hint::black_box(bytes));
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::MAX, f64::min)
}

fn real(files: &[Vec<u8>]) {
    let bytes: usize = files.iter().map(Vec::len).sum();
    for (name, work) in [
        ("parse", parse_only as fn(&[u8])),
        ("parse and analyze", parse_and_analyze),
    ] {
        let mut times: Vec<f64> = files.iter().map(|file| best(file, work)).collect();
        times.sort_by(f64::total_cmp);
        let total: f64 = times.iter().sum();
        println!(
            "{name}, {} files, {bytes} bytes: {total:.2} ms, median {:.1} us, worst {:.1} us, {:.0} MB/s",
            files.len(),
            times[times.len() / 2] * 1e3,
            times[times.len() - 1] * 1e3,
            bytes as f64 / total / 1e3,
        );
    }
}

/// Growth with the number of instructions: what one costs stays the same.
fn growth() {
    const LINES: [&str; 5] = [
        "RUN apt-get update && apt-get install -y --no-install-recommends curl=7.88.1 && rm -rf /var/lib/apt/lists/*",
        "ENV LANG=C.UTF-8 HOME=/opt/app",
        "COPY --chown=1000:1000 src/ /opt/app/",
        "RUN set -eux; for f in *.tar.gz; do tar -xf \"$f\"; done; make -j\"$(nproc)\" install",
        "LABEL org.opencontainers.image.title=app",
    ];
    for number in [1, 10, 100, 990] {
        let mut text = "FROM debian:12\n".to_owned();
        for at in 0..number {
            text.push_str(LINES[at % LINES.len()]);
            text.push('\n');
        }
        let judged = best(text.as_bytes(), parse_and_analyze) * 1e3;
        println!(
            "{number:4} instructions, {:6} bytes: {judged:9.1} us, {:.2} us each",
            text.len(),
            judged / number as f64
        );
    }
}

fn hostile() -> Vec<(&'static str, String)> {
    let from = "FROM alpine\n";
    let fill = |head: &str, unit: &str, tail: &str| {
        let room = MIB - from.len() - head.len() - tail.len();
        format!("{from}{head}{}{tail}", unit.repeat(room / unit.len()))
    };
    let lines = |head: &str, unit: &str| {
        let line = format!("{}\\\n", unit.repeat(60_000 / unit.len()));
        let room = MIB - from.len() - head.len();
        format!("{from}{head}{}", line.repeat(room / line.len()))
    };
    let deep = |depth: usize| {
        let open = format!("{}\\\n", "${a:-".repeat(10_000)).repeat(depth / 10_000);
        let close = format!("{}\\\n", "}".repeat(50_000)).repeat(depth / 50_000);
        format!("{from}RUN <<x {open}y{close}\nx\n")
    };
    vec![
        ("one line of words", fill("RUN ", "word ", "")),
        ("continued lines of words", lines("RUN ", "word ")),
        ("ENV words, continued", lines("ENV ", "a=b ")),
        ("COPY words, continued", lines("COPY ", "word ")),
        ("flags, continued", lines("RUN ", "--a=b ")),
        (
            "10,000 continuations",
            format!("{from}RUN a {}", "b \\\n".repeat(10_000)),
        ),
        ("continuations", fill("RUN a \\\n", "b \\\n", "")),
        ("empty continuations", fill("RUN a \\\n", "\n", "")),
        ("comments", fill("RUN a \\\n", "#\n", "")),
        ("instructions", fill("", "RUN a\n", "")),
        ("unknown instructions", fill("", "a\n", "")),
        ("deep braces, closed", deep(150_000)),
        ("deep braces, open", lines("RUN <<x ", "${a:-")),
        ("ENV deep braces", lines("ENV a=", "${a:-")),
        ("heredoc words", lines("RUN ", "<<EOF ")),
        (
            "heredocs, each ended",
            format!("{from}RUN {}\n{}", "<<E \\\n".repeat(100_000), "E\n".repeat(100_000)),
        ),
        ("heredoc body", fill("RUN <<EOF\n", "x\n", "EOF\n")),
        ("unterminated heredocs", fill("", "RUN <<EOF\n", "")),
        ("JSON strings", lines("RUN [", "\"a\",")),
        ("JSON nesting", lines("RUN ", "[")),
        ("ONBUILD of ONBUILD", lines("", "ONBUILD ")),
        ("quotes", lines("ENV a=", "\"'")),
        ("open quote heredoc", lines("RUN <<x \"", "$a ")),
        ("mount fields", lines("RUN --mount=", "a,")),
        ("carriage returns", fill("RUN ", "\r", "")),
        ("NUL bytes", fill("RUN ", "\0", "")),
        ("scattered NUL bytes", fill("RUN ", "\0a", "")),
        ("bidirectional controls", fill("RUN ", "a\u{202e}", "")),
        ("slashes of paths", lines("RUN ", "/p/v/r/h/d/s")),
        ("sockets", lines("RUN ", "docker.sock ")),
        ("names of sockets cut short", lines("RUN ", "docker.soc")),
        ("hashes", fill("RUN <<EOF\n", "# # # nos\n", "EOF\n")),
        ("pragmas", fill("", "# hadolint ignore=x nosemgrep\n", "")),
        ("ENV of one large value", {
            let value = format!("ENV b={}\n", "x".repeat(16_000));
            format!("{from}{value}{}", lines("ENV ", "a=$b ").trim_start_matches(from))
        }),
        (
            "ENV that doubles",
            format!("{from}ENV a=xxxxxxxx\n{}", "ENV a=$a$a\n".repeat(900)),
        ),
        ("ENV names with quotes", lines("ENV ", "'a'=b ")),
        ("dollars", lines("RUN ", "$a${b}$")),
        ("stages on stages", {
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!(
                "{from}FROM alpine AS s0\n{stages}{}",
                lines("ENV ", "a=$zz ").trim_start_matches(from)
            )
        }),
        ("RUN variables through stages", {
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!(
                "{from}FROM alpine AS s0\n{stages}{}",
                lines("RUN ", "$zz ").trim_start_matches(from)
            )
        }),
        ("ADD of URLs", lines("ADD ", "http://127.1/$a ")),
        (
            "ADD of long URLs",
            lines("ADD ", &format!("http://{}/ ", "a@%31:".repeat(9_000))),
        ),
        ("mounts", lines("RUN ", "--mount=type=cache,id=a ")),
        ("SHELL of words, many CMD", {
            let shell = format!("SHELL [{}\"a\"]\n", "\"a\",".repeat(16_000));
            format!("{from}{shell}{}", "CMD a\n".repeat(990))
        }),
        ("SHELL of words, many RUN", {
            let shell = format!("SHELL [{}\"a\"]\n", "\"a\",".repeat(16_000));
            format!("{from}{shell}{}", "RUN a\n".repeat(990))
        }),
        ("SHELL continued, many CMD", {
            let line = format!("{}\\\n", "\"a\",".repeat(15_000));
            format!("{from}SHELL [{}\"a\"]\n{}", line.repeat(16), "CMD a\n".repeat(990))
        }),
        ("SHELL continued, stages", {
            let line = format!("{}\\\n", "\"a\",".repeat(15_000));
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\nSHELL [{}\"a\"]\n{stages}", line.repeat(16))
        }),
        ("CMD continued, stages", {
            let line = format!("{}\\\n", "\"a\",".repeat(15_000));
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\nCMD [{}\"a\"]\n{stages}", line.repeat(16))
        }),
        ("LABEL continued, stages", {
            let line: String = (0..6000).map(|at| format!("a{at}=b ")).collect();
            let labels: String = (0..16)
                .map(|at| format!("LABEL {}\n", line.replace('a', &format!("{}", (b'a' + at) as char))))
                .collect();
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\n{labels}{stages}")
        }),
        ("ENV continued, stages", {
            let line: String = (0..6000).map(|at| format!("a{at}=b ")).collect();
            let labels: String = (0..16)
                .map(|at| format!("ENV {}\n", line.replace('a', &format!("{}", (b'a' + at) as char))))
                .collect();
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\n{labels}{stages}")
        }),
        ("VOLUME continued, stages", {
            let line: String = (0..6000).map(|at| format!("/a{at} ")).collect();
            let labels: String = (0..16)
                .map(|at| format!("VOLUME {}\n", line.replace('a', &format!("{}", (b'a' + at) as char))))
                .collect();
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\n{labels}{stages}")
        }),
        ("EXPOSE of ranges", lines("EXPOSE ", "1-4000 ")),
        (
            "EXPOSE one by one",
            format!("{from}{}", "EXPOSE 1-4000 1-4000 1-4000\n".repeat(990)),
        ),
        ("ENV many names", {
            let line: String = (0..6000).map(|at| format!("a{at}=b ")).collect();
            format!(
                "{from}{}",
                (0..16)
                    .map(|at| format!("ENV {}\n", line.replace('a', &format!("{}", (b'a' + at) as char))))
                    .collect::<String>()
            )
        }),
        ("ARG many, RUN each", {
            let line: String = (0..6000).map(|at| format!("a{at}=b ")).collect();
            format!(
                "{from}{}",
                (0..16)
                    .map(|at| format!(
                        "ARG {}\nRUN a\n",
                        line.replace('a', &format!("{}", (b'a' + at) as char))
                    ))
                    .collect::<String>()
            )
        }),
        (
            "WORKDIR grows",
            format!("{from}{}", format!("WORKDIR {}\n", "a/".repeat(500)).repeat(990)),
        ),
        (
            "WORKDIR dots",
            format!("{from}{}", format!("WORKDIR {}\n", "a/../".repeat(210)).repeat(990)),
        ),
        (
            "WORKDIR large, COPY",
            format!("{from}WORKDIR {}\n{}", "a/".repeat(30_000), "COPY a b\n".repeat(990)),
        ),
        (
            "WORKDIR large, COPY many",
            format!(
                "{from}WORKDIR {}\n{}",
                "a/".repeat(30_000),
                format!("COPY {} b/\n", "a ".repeat(500)).repeat(800)
            ),
        ),
        (
            "COPY of heredocs",
            format!("{from}COPY {} /x/\n{}", "<<E \\\n".repeat(80_000), "E\n".repeat(80_000)),
        ),
        (
            "COPY from images",
            format!(
                "{from}{}",
                (0..990)
                    .map(|at| format!("COPY --from=image{at} {} /b\n", "a".repeat(900)))
                    .collect::<String>()
            ),
        ),
        (
            "RUN heredocs shebang",
            format!("{from}{}", format!("RUN <<E\n#!{}\nE\n", "x".repeat(1000)).repeat(990)),
        ),
        (
            "RUN mounts from",
            format!(
                "{from}{}",
                (0..990)
                    .map(|at| format!(
                        "RUN {} a\n",
                        (0..15)
                            .map(|n| format!("--mount=type=bind,from=i{at}x{n},target=/a{n} "))
                            .collect::<String>()
                    ))
                    .collect::<String>()
            ),
        ),
        ("RUN mounts many", lines("RUN ", "--mount=type=bind,from=x,target=/a ")),
        ("RUN mount tmpfs many", lines("RUN ", "--mount=type=tmpfs,target=/a ")),
        (
            "LABEL values expand",
            format!(
                "ARG z\n{from}ENV b={}\n{}",
                "x".repeat(60_000),
                "LABEL a=$b\n".repeat(990)
            ),
        ),
        ("ENV unset nested", lines("ENV a=", "${a:+b}")),
        ("ENV patterns", lines("ENV a=xxxxxxx b=", "${a#*x}${a//x/yy}")),
        ("ENV pattern large", {
            format!(
                "{from}ENV a={}\n{}",
                "x".repeat(60_000),
                "ENV b=${a#*y*y*y*y}${a%y*x*y*x}${a//x*y/z}\n".repeat(990)
            )
        }),
        ("ENV pattern stars", {
            format!(
                "{from}ENV a={}\nENV p={}\n{}",
                "x".repeat(60_000),
                "*?".repeat(20_000),
                "ENV b=${a#$p}\n".repeat(500)
            )
        }),
        ("WORKDIR large, mounts", {
            let workdir = format!("WORKDIR /{}\n", "w".repeat(60_000));
            let mounts = lines("RUN ", "--mount=type=tmpfs,target=a ");
            format!("{from}{workdir}{}", &mounts[from.len()..MIB - 60_100])
        }),
        ("secret names", lines("ENV ", "a_token=b ")),
        ("names of files of credentials", {
            let copies = "COPY a /b/c/d/\n".repeat(100);
            format!(
                "{from}{copies}{}",
                lines("ENV ", "HF_TOKEN_PATH=/b/x ").trim_start_matches(from)
            )
        }),
        ("tokens cut short", lines("RUN ", "ghp_0a1B2c3D4 ")),
        ("web tokens cut short", lines("RUN ", "eyJhbGciOiJI.")),
        ("URLs cut short", lines("RUN ", "a://")),
        ("users of URLs cut short", lines("RUN ", "a://b:")),
        ("private keys cut short", lines("RUN ", "-----BEGIN ")),
        ("label keys", lines("LABEL ", "a..b=c ")),
        ("ENV of itself", lines("ENV ", "a=$b b=$a ")),
        ("ports", lines("EXPOSE ", "22/TCP ")),
        ("volumes", lines("VOLUME ", "/etc/../etc ")),
        ("archives, unpacked", {
            let copies = format!("COPY {} /b/\n", "a.tar ".repeat(64));
            format!("{from}{copies}{}", lines("RUN ", "tar -x;").trim_start_matches(from))
        }),
        ("COPY of variables, stages", {
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\n{stages}{}", "COPY $a$b$c d\n".repeat(890))
        }),
        ("ENV many names, stages", {
            let names: String = (0..4_096).map(|at| format!("a{at}=b ")).collect();
            let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
            format!("FROM alpine AS s0\nENV {names}\n{stages}")
        }),
        ("one mount", lines("RUN --mount=", "type=$a,from=b,")),
    ]
}
