//! Times the parser over the corpus beside the checkout and over hostile texts of 1 MiB.
//!
//! `cargo run --release -p seatrial-dockerfile --example parse_bench`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::{fs, path::Path, time::Instant};

use seatrial_dockerfile::parse;

const MIB: usize = 1 << 20;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/files");
    match fs::read_dir(&folder) {
        Ok(entries) => real(entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()),
        Err(error) => println!("no corpus at {}: {error}", folder.display()),
    }
    for (name, text) in hostile() {
        let best = (0..5).map(|_| time(text.as_bytes())).fold(f64::MAX, f64::min);
        println!("{name:28} {:8} bytes {best:8.2} ms", text.len());
    }
}

fn time(bytes: &[u8]) -> f64 {
    let start = Instant::now();
    std::hint::black_box(parse(std::hint::black_box(bytes)));
    start.elapsed().as_secs_f64() * 1e3
}

fn real(files: Vec<Vec<u8>>) {
    let bytes: usize = files.iter().map(Vec::len).sum();
    let mut times: Vec<f64> = files
        .iter()
        .map(|file| (0..5).map(|_| time(file)).fold(f64::MAX, f64::min))
        .collect();
    times.sort_by(f64::total_cmp);
    let total: f64 = times.iter().sum();
    println!(
        "{} files, {bytes} bytes: {total:.2} ms, median {:.1} us, worst {:.1} us, {:.0} MB/s",
        files.len(),
        times[times.len() / 2] * 1e3,
        times[times.len() - 1] * 1e3,
        bytes as f64 / total / 1e3,
    );
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
    ]
}
