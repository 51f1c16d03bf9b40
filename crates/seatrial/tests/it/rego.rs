//! Checks in Rego through the binary: files that shops have, and what a check can do to the process.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::support::{folder, seatrial, soon};

/// As Trivy's documentation has its users write one.
const TRIVY: &str = r#"# METADATA
# title: Only bases of the shop
# custom:
#   id: SHOP-1
#   severity: CRITICAL
#   input:
#     selector:
#       - type: dockerfile
package user.dockerfile.bases

import rego.v1

import data.lib.shop

deny contains res if {
	some cmd in shop.froms
	not startswith(cmd.Value[0], "shop/")
	res := result.new(sprintf("%s is not of the shop", [cmd.Value[0]]), cmd)
}
"#;

const LIBRARY: &str = "package lib.shop\n\nimport rego.v1\n\nfroms contains cmd if {\n\tsome stage in input.Stages\n\tsome cmd in stage.Commands\n\tcmd.Cmd == \"from\"\n}\n";

const CONFTEST: &str = "package main\n\ndeny[msg] {\n\tinput[i].Cmd == \"run\"\n\tcontains(input[i].Value[_], \"curl\")\n\tmsg := \"no curl\"\n}\n\nwarn[msg] {\n\tinput[i].Cmd == \"from\"\n\tmsg := sprintf(\"stage %d\", [input[i].Stage])\n}\n";

const PLAIN: &str = "FROM busybox\nRUN true\n";

fn run(folder: &Path, args: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = seatrial().current_dir(folder).args(args).output().unwrap();
    let text = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn report(folder: &Path) -> (i32, Value) {
    let args = ["analyze", "--format", "json", "--policy", "policy.toml", "Dockerfile"];
    let (code, text) = run(folder, &args);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (code, value["files"][0].clone())
}

/// What one check makes of a plain file.
fn judged(check: &str, table: &str, dockerfile: &str) -> (i32, String) {
    let policy = format!("version = 1\n[rego]\nfiles = [\"a.rego\"]\n{table}\n");
    let folder = folder(&[("a.rego", check), ("policy.toml", &policy), ("Dockerfile", dockerfile)]);
    let (code, file) = report(folder.path());
    let found = file["findings"].as_array().unwrap();
    let mine = found
        .iter()
        .filter(|finding| finding["rule"].as_str().unwrap().starts_with("rego:"));
    let words: Vec<String> = mine
        .map(|finding| format!("{} {}: {}", finding["rule"], finding["line"], finding["message"]))
        .collect();
    (code, words.join("\n"))
}

#[test]
fn a_trivy_check_in_a_folder_denies_waits_for_a_waiver_and_is_explained() {
    let policy = "version = 1\n[rego]\nfiles = [\"checks\"]\n";
    let folder = folder(&[
        ("checks/bases.rego", TRIVY),
        ("checks/bases_test.rego", "this is no Rego"),
        ("checks/lib/shop.rego", LIBRARY),
        ("policy.toml", policy),
        ("Dockerfile", "# a comment\nFROM busybox AS one\nRUN true\n"),
    ]);
    let (code, file) = report(folder.path());
    assert_eq!((code, &file["verdict"]), (3, &"deny".into()));
    let finding = file["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["rule"] == "rego:SHOP-1")
        .unwrap();
    assert_eq!((&finding["line"], &finding["level"]), (&2.into(), &"error".into()));
    assert_eq!(finding["message"], "busybox is not of the shop");
    let (code, told) = run(
        folder.path(),
        &["policy", "explain", "--policy", "policy.toml", "Dockerfile"],
    );
    assert!(code == 3 && told.contains("waive rego:SHOP-1"), "{told}");
    let (code, told) = run(folder.path(), &["policy", "check", "policy.toml"]);
    assert_eq!(code, 0, "{told}");
    let whole = folder.path().join("policy.toml");
    let (_, shown) = run(folder.path(), &["policy", "show", "--policy", whole.to_str().unwrap()]);
    assert!(shown.contains("# rego.files checks/bases.rego: sha256:"), "{shown}");
    let waived = format!(
        "{policy}[[waivers]]\nrule = \"rego:SHOP-1\"\nreason = \"known\"\nowner = \"ann\"\nexpires = \"{}\"\n",
        soon()
    );
    fs::write(folder.path().join("waived.toml"), waived).unwrap();
    let (code, told) = run(folder.path(), &["analyze", "--policy", "waived.toml", "Dockerfile"]);
    assert_eq!(code, 0, "{told}");
    let args = ["policy", "diff", "policy.toml", "waived.toml", "--corpus", "."];
    let (code, told) = run(folder.path(), &args);
    assert!(code == 1 && told.contains("1 newly passed"), "{told}");
}

#[test]
fn the_example_says_what_it_is_there_to_say() {
    let root = crate::support::root();
    let policy = "examples/rego/policy.toml";
    let args = [
        "analyze",
        "--format",
        "line",
        "--policy",
        policy,
        "examples/rego/Dockerfile",
    ];
    let (code, told) = run(&root, &args);
    assert_eq!(code, 3, "{told}");
    assert!(
        told.contains(":2:1: error[rego:SHOP-1]: There is no LABEL org.example.team"),
        "{told}"
    );
    assert!(
        told.contains(":3:1: warn[rego:SHOP-2]: build-env.sh is of the build machine"),
        "{told}"
    );
    assert_eq!(run(&root, &["policy", "check", policy]).0, 0);
}

#[test]
fn a_conftest_check_denies_and_warns() {
    let table = "form = \"conftest\"";
    let (code, told) = judged(CONFTEST, table, "FROM busybox\nRUN curl x\n");
    assert_eq!(
        (code, told.as_str()),
        (3, "\"rego:main\" 1: \"no curl\"\n\"rego:main\" 1: \"stage 0\"")
    );
    let (code, told) = judged(CONFTEST, table, PLAIN);
    assert_eq!((code, told.as_str()), (0, "\"rego:main\" 1: \"stage 0\""));
}

#[test]
fn a_check_that_does_not_compile_denies_and_is_told_by_policy_check_with_its_place() {
    let broken = "package a\n\ndeny[msg] {\n\tmsg := \n}\n";
    let (code, told) = judged(broken, "", PLAIN);
    assert!(
        code == 3 && told.contains("rego:failed") && told.contains("a.rego, line 3"),
        "{told}"
    );
    let policy = "version = 1\n[rego]\nfiles = [\"a.rego\"]\n";
    let folder = folder(&[("a.rego", broken), ("policy.toml", policy)]);
    let (code, told) = run(folder.path(), &["policy", "check", "policy.toml"]);
    assert!(code == 2 && told.contains("a.rego, line 3"), "{told}");
}

#[test]
fn files_that_are_missing_links_or_no_rego_are_told_at_the_place_in_the_policy() {
    let folder = folder(&[("checks/a.txt", ""), ("links/b.rego", ""), ("Dockerfile", PLAIN)]);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("links/a.rego")).unwrap();
    fs::create_dir(folder.path().join("shared")).unwrap();
    std::os::unix::fs::symlink("../links", folder.path().join("shared/more")).unwrap();
    for (entry, part) in [
        ("missing.rego", "missing.rego cannot be read"),
        ("checks", "holds no file that ends with .rego"),
        ("checks/a.txt", "neither a folder nor a file"),
        ("links", "links/a.rego is a link"),
        ("shared", "shared/more is a link"),
    ] {
        let policy = format!("version = 1\n[rego]\nfiles = [\"{entry}\"]\n");
        fs::write(folder.path().join("policy.toml"), policy).unwrap();
        let (code, told) = run(folder.path(), &["analyze", "--policy", "policy.toml", "Dockerfile"]);
        assert!(
            code == 2 && told.contains("policy.toml: line 3, column 10") && told.contains(part),
            "{told}"
        );
    }
}

#[test]
fn what_never_ends_ends_at_the_deadline_or_at_the_limit_of_the_processor() {
    let endless = "package a\nimport rego.v1\ndeny contains msg if {\n\tcount([1 | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); some z in numbers.range(1, 3000); x * y == z + 0.5]) > 0\n\tmsg := \"x\"\n}\n";
    // The parser doubles its time with each level.
    let nested = format!(
        "package a\nx := {}1{}\ndeny[\"x\"] {{ true }}\n",
        "[".repeat(24),
        "]".repeat(24)
    );
    for check in [endless, &nested] {
        let (code, told) = judged(check, "deadline = \"1s\"", PLAIN);
        assert!(code == 3 && told.contains("rego.deadline"), "{told}");
    }
}

#[test]
fn what_wants_memory_or_calls_itself_without_end_ends() {
    let mut bomb = "package a\nimport rego.v1\na0 := \"0123456789\"\n".to_owned();
    for level in 1..=8 {
        let before = vec![format!("a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level} := concat(\"\", [{before}])\n"));
    }
    bomb.push_str("deny contains \"x\" if count(a8) > 0\n");
    let (code, told) = judged(&bomb, "deadline = \"30s\"\nmemory = \"64MiB\"", PLAIN);
    assert!(code == 3 && told.contains("rego.memory"), "{told}");
    let recursion = "package a\nimport rego.v1\nf(n) := f(n + 1)\ndeny contains \"x\" if f(1) > 0\n";
    let (code, told) = judged(recursion, "", PLAIN);
    assert!(code == 3 && told.contains("rego:failed"), "{told}");
}

#[test]
fn a_check_has_no_network_no_environment_and_no_clock() {
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1:1\"})",
        "opa.runtime()",
        "time.now_ns()",
    ] {
        let (code, told) = judged(&format!("package a\ndeny[msg] {{ msg := {call} }}\n"), "", PLAIN);
        assert!(
            code == 3 && told.contains("is refused") && told.contains("a.rego, line 2"),
            "{told}"
        );
    }
}

#[test]
fn a_large_hostile_file_is_worked_out_and_its_text_stays_text() {
    let echo = "package a\nimport rego.v1\ndeny contains msg if {\n\tsome cmd in input.Stages[0].Commands\n\tcontains(cmd.Original, \"needle\")\n\tmsg := sprintf(\"%d\", [cmd.StartLine])\n}\n";
    let line = "RUN : '\"}]} deny := true \\u0000 \u{1f4a3}' data.a.deny http.send\n";
    let mut hostile = "FROM busybox\n".to_owned();
    while hostile.len() < (1 << 20) - 64_000 && hostile.lines().count() < 900 {
        hostile.push_str(&line.replace('\n', &format!(" {}\n", "x\\\"".repeat(350))));
    }
    hostile.push_str("RUN echo needle\n");
    let limit = "deadline = \"60s\"\n[limits]\ndockerfile = \"1MiB\"";
    let (code, told) = judged(echo, limit, &hostile);
    assert!(
        code == 3 && told.ends_with(&format!(": \"{}\"", hostile.lines().count())),
        "{code} {told}"
    );
}
