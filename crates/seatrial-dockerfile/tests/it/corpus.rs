//! Agreement with BuildKit's own parser on real and on hostile files.
//!
//! The files live beside the checkout and never in it. Without them these tests say so and pass.

use std::{
    fs,
    path::{Path, PathBuf},
};

use seatrial_dockerfile::{ErrorLevel, Parsed, parse};
use serde_json::Value;

pub(crate) fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if folder.join("buildkit_ast.jsonl").is_file() {
        return Some(folder);
    }
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("NOT CHECKED: the corpus is not at {}\n", folder.display()).as_bytes(),
    );
    None
}

pub(crate) fn rows(name: &str) -> Vec<Value> {
    let Some(folder) = folder() else {
        return Vec::new();
    };
    fs::read_to_string(folder.join(name))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn real_files() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = folder() else {
        return Vec::new();
    };
    rows("buildkit_ast.jsonl")
        .iter()
        .map(|row| {
            let name = row["file"].as_str().unwrap().to_owned();
            let bytes = fs::read(folder.join(&name)).unwrap();
            (name, bytes)
        })
        .collect()
}

/// What differs from BuildKit's row, or nothing.
fn difference(parsed: &Parsed, error: &Value, instructions: &Value) -> Option<String> {
    let ours: Vec<&str> = parsed
        .errors
        .iter()
        .filter(|error| error.kind.level() != ErrorLevel::Ours)
        .map(|error| error.message.as_str())
        .collect();
    if error.is_null() != ours.is_empty() {
        return Some(format!("BuildKit's error is {error}, ours are {ours:?}"));
    }
    let Some(expected) = instructions.as_array() else {
        return (!parsed.fails_at_line_level()).then(|| format!("BuildKit reads nothing, ours are {ours:?}"));
    };
    if parsed.fails_at_line_level() {
        return Some(format!("BuildKit reads it, ours are {ours:?}"));
    }
    let read: Vec<Value> = parsed
        .dockerfile
        .instructions
        .iter()
        .map(|instruction| {
            serde_json::json!([
                instruction.name,
                instruction.first_line,
                instruction.last_line,
                instruction.flags.len(),
                instruction.json_form()
            ])
        })
        .collect();
    let index = (0..expected.len().max(read.len())).find(|index| expected.get(*index) != read.get(*index))?;
    Some(format!(
        "#{index}: BuildKit {:?}, we {:?}",
        expected.get(index),
        read.get(index)
    ))
}

#[test]
fn real_files_are_read_as_buildkit_reads_them() {
    let rows = rows("buildkit_ast.jsonl");
    let files = real_files();
    let mut differences = Vec::new();
    for (row, (name, bytes)) in rows.iter().zip(&files) {
        let found = difference(&parse(bytes), &row["error"], &row["instructions"]);
        differences.extend(found.map(|text| format!("{name}: {text}")));
    }
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        rows.len(),
        differences.join("\n")
    );
}

#[test]
fn odd_and_hostile_files_are_read_as_buildkit_reads_them() {
    let mut differences = Vec::new();
    for row in rows("parser_cases.jsonl") {
        let Some(encoded) = row["dockerfile_b64"].as_str() else {
            continue;
        };
        let found = difference(&parse(&decode(encoded)), &row["buildkit_error"], &row["instructions"]);
        differences.extend(found.map(|text| format!("{}: {text}", row["case"])));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_place_is_a_place_in_the_file() {
    for (name, bytes) in real_files() {
        let parsed = parse(&bytes);
        for instruction in &parsed.dockerfile.instructions {
            let keyword = parsed.slice(instruction.keyword_span);
            assert_eq!(keyword.to_lowercase(), instruction.name, "{name}");
            for word in instruction.words().iter().filter(|_| !instruction.json_form()) {
                assert!(parsed.slice(word.span).starts_with(&word.value[..0]), "{name}");
                let written = parsed.slice(word.span);
                assert!(
                    written == word.value || written.contains('\n'),
                    "{name}: {written:?} {word:?}"
                );
            }
            for flag in &instruction.flags {
                assert!(parsed.slice(flag.span).starts_with("--"), "{name}");
            }
            for heredoc in &instruction.heredocs {
                assert_eq!(parsed.slice(heredoc.body_span), heredoc.body, "{name}");
                assert!(
                    parsed.slice(heredoc.terminator_span).ends_with(&heredoc.delimiter),
                    "{name}"
                );
            }
        }
    }
}

pub(crate) fn decode(base64: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = base64.bytes().filter_map(digit).collect();
    digits
        .chunks(4)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - chunk.len()));
            bits.to_be_bytes()[1..chunk.len()].to_vec()
        })
        .collect()
}
