//! Each form that is built means in the builder what BuildKit documents.
//!
//! A form is allowed only when one of these files builds it: every step checks what it finds and
//! fails the build otherwise, and the number in the result is how many checks were made.

use crate::support::{assert_clean, run};

/// The folder below `tests/forms`, whether it needs a context, and how many checks it makes.
const FORMS: [(&str, bool, u32); 6] = [
    ("quoting", false, 32),
    ("escape", false, 7),
    ("args", false, 22),
    ("heredocs", false, 19),
    ("files", true, 35),
    ("config", false, 9),
];

fn check(name: &str) {
    let (name, context, checks) = FORMS.into_iter().find(|(known, ..)| *known == name).unwrap();
    let folder = format!("crates/seatrial/tests/forms/{name}");
    let file = format!("{folder}/Dockerfile");
    let mut args = vec![file.as_str(), "--policy", "crates/seatrial/tests/forms/policy.toml"];
    if context {
        args.extend(["--context", &folder]);
    }
    let (code, job) = run(&args);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &checks.into()), "{job:#}");
}

#[test]
fn docker_values_are_taken_literally_whatever_stands_in_them() {
    check("quoting");
}

#[test]
fn docker_the_other_escape_character_is_honoured() {
    check("escape");
}

#[test]
fn docker_arguments_and_variables_win_and_end_as_in_buildkit() {
    check("args");
}

#[test]
fn docker_heredocs_of_all_kinds_are_scripts_files_or_shell_text() {
    check("heredocs");
}

#[test]
fn docker_copies_archives_and_mounts_keep_owners_modes_and_bounds() {
    check("files");
}

#[test]
fn docker_the_image_says_of_itself_what_the_file_says() {
    check("config");
}

/// Seen on a busy host: "sealing memfd copy: Device or resource busy", twice on one day.
#[test]
fn docker_a_step_is_never_refused_the_seals_that_buildah_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    // A page that is mapped for writing is what the kernel refuses to seal, always.
    let text = r#"FROM seatrial-test/python:1
RUN <<EOF
#!/usr/bin/env python3
import fcntl, mmap, os
file = os.memfd_create("copy", os.MFD_ALLOW_SEALING)
os.ftruncate(file, 4096)
page = mmap.mmap(file, 4096)
fcntl.fcntl(file, 1033, 15)
try:
    fcntl.fcntl(file, 1033, 8)
    raise SystemExit("other seals are the kernel's affair")
except OSError as error:
    assert error.errno == 16, error
EOF
CMD printf '{"perf": 1}' > /data/perf.json
"#;
    std::fs::write(&dockerfile, text).unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(
        &policy,
        "version = 1\n[bases]\nallow = [\"docker.io/seatrial-test/*\"]\n",
    )
    .unwrap();
    let (code, job) = run(&[dockerfile.to_str().unwrap(), "--policy", policy.to_str().unwrap()]);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &1.into()), "{job:#}");
}

#[test]
fn docker_a_thousand_instructions_and_a_long_line_are_built() {
    use std::fmt::Write as _;

    let folder = tempfile::tempdir().unwrap();
    let mut text = "FROM busybox\n".to_owned();
    for number in 0..990 {
        let _ = match number % 3 {
            0 => writeln!(text, "ENV V{number}={number}"),
            1 => writeln!(text, "LABEL l{number}={number}"),
            _ => writeln!(text, "EXPOSE {}", number + 1),
        };
    }
    let piece = "x".repeat(50_000);
    let _ = writeln!(
        text,
        "RUN test \"$(printf %s {piece}\\\n{piece} | wc -c)\" = 100000 && test $V987 = 987"
    );
    text.push_str("CMD printf '{\"perf\": %s}' $V987 > /data/perf.json\n");
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, text).unwrap();
    let (code, job) = run(&[dockerfile.to_str().unwrap()]);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &987.into()), "{job:#}");
    assert_clean("a long file");
}
