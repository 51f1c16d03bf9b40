use super::*;
use crate::input;

fn request(form: Form, texts: &[(&str, &str)], file: &str) -> Request {
    let texts = texts.iter().map(|(name, text)| Text {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
    });
    Request {
        texts: texts.collect(),
        form,
        namespaces: Vec::new(),
        input: input::input(form, &seatrial_dockerfile::parse(file.as_bytes())),
    }
}

fn judged(form: Form, texts: &[(&str, &str)], file: &str) -> Result<Vec<Hit>, Failure> {
    judge(request(form, texts, file), &mut |_| {})
}

fn told(form: Form, text: &str) -> String {
    judged(form, &[("a.rego", text)], "FROM scratch\n")
        .unwrap_err()
        .to_string()
}

const TRIVY: &str = r#"# METADATA
# title: No tools from the test bench
# custom:
#   id: SHOP-7
#   severity: HIGH
#   input:
#     selector:
#       - type: dockerfile
package user.dockerfile.SHOP7

import rego.v1

import data.lib.shop

deny contains res if {
	some cmd in shop.runs
	some words in sh.parse_commands(cmd.Value[0])
	words[0] == "gdb"
	res := result.new(sprintf("%s is for the test bench", [words[0]]), cmd)
}
"#;

const LIBRARY: &str = r#"package lib.shop

import rego.v1

runs contains cmd if {
	some stage in input.Stages
	some cmd in stage.Commands
	cmd.Cmd == "run"
}
"#;

#[test]
fn a_trivy_check_with_a_library_runs_unchanged() {
    let texts = [("checks/SHOP7.rego", TRIVY), ("lib/shop.rego", LIBRARY)];
    let hits = judged(
        Form::Trivy,
        &texts,
        "FROM debian:12\nRUN true \\\n && gdb -p 1\nRUN echo 'gdb'\n",
    )
    .unwrap();
    assert_eq!(
        hits,
        [Hit {
            check: "SHOP-7".into(),
            title: Some("No tools from the test bench".into()),
            file: "checks/SHOP7.rego".into(),
            message: "gdb is for the test bench".into(),
            level: Level::Error,
            first_line: 2,
            last_line: 3,
        }]
    );
}

const OLD: &str = r#"package user.old

__rego_metadata__ := {"id": "OLD-1", "title": "Old", "severity": "MEDIUM"}

__rego_input__ := {"combine": false, "selector": [{"type": "dockerfile"}]}

deny[msg] {
	name := input.Stages[_].Name
	contains(name, "latest")
	msg := sprintf("%v moves", [name])
}
"#;

#[test]
fn a_check_in_the_older_language_runs_unchanged() {
    let hits = judged(Form::Trivy, &[("old.rego", OLD)], "FROM a:latest AS b\n").unwrap();
    assert_eq!((&*hits[0].check, hits[0].level), ("OLD-1", Level::Warn));
    assert_eq!(hits[0].message, "a:latest AS b moves");
    let other = OLD.replace("dockerfile", "kubernetes");
    let why = judged(Form::Trivy, &[("old.rego", &other)], "FROM a\n").unwrap_err();
    assert!(why.to_string().contains("no check is for Dockerfiles"), "{why}");
}

const CONFTEST: &str = r#"package main

denylist = ["openjdk"]

deny[msg] {
	input[i].Cmd == "from"
	val := input[i].Value
	contains(val[i], denylist[_])
	msg = sprintf("unallowed image found %s", [val])
}

deny_root[{"msg": msg, "details": 1}] {
	cmd := input[_]
	cmd.Cmd == "user"
	cmd.Value[0] == "root"
	msg := "no root"
}

warn_comment[msg] {
	input[_].Cmd == "comment"
	msg := "a comment"
}

violation[{"msg": "exec form"}] {
	cmd := input[_]
	cmd.Cmd == "cmd"
	not cmd.JSON
}
"#;

#[test]
fn a_conftest_check_runs_unchanged() {
    let file = "# hello\nFROM scratch\nUSER root\nCMD true\n";
    let hits = judged(Form::Conftest, &[("policy/base.rego", CONFTEST)], file).unwrap();
    let told: Vec<_> = hits.iter().map(|hit| (&*hit.check, hit.level, &*hit.message)).collect();
    assert_eq!(
        told,
        [
            ("main.deny_root", Level::Error, "no root"),
            ("main", Level::Error, "exec form"),
            ("main.warn_comment", Level::Warn, "a comment"),
        ]
    );
    let except = format!("{CONFTEST}\nexception[rules] {{\n\trules := [\"root\"]\n}}\n");
    let hits = judged(Form::Conftest, &[("policy/base.rego", &except)], file).unwrap();
    assert!(hits.iter().all(|hit| hit.check != "main.deny_root"), "{hits:?}");
}

/// In the manner of what people publish: helpers, older and newer syntax, the last user of the last stage, exemptions by
/// comments.
#[test]
fn conftest_checks_as_people_write_them_find_what_they_look_for() {
    let last_user = r#"package main

import rego.v1

final := max({input[i].Stage | some i})

in_final contains lower(input[i].Cmd) if input[i].Stage == final

exempt contains rule if {
	some i
	input[i].Cmd == "comment"
	some text in input[i].Value
	contains(text, "exempt=")
	rule := trim_space(split(split(text, "exempt=")[1], " ")[0])
}

deny contains "no user in the last stage" if {
	not "user" in in_final
	not "user" in exempt
}

deny contains msg if {
	some i
	input[i].Cmd == "from"
	endswith(input[i].Value[0], ":latest")
	msg := sprintf("latest: %s", [input[i].Value[0]])
}
"#;
    let helpers = r#"package main

cmd(i) = c { c := lower(input[i].Cmd) }

val(i) = v { v := lower(concat(" ", input[i].Value)) }

deny[msg] {
	cmd(i) == "run"
	text := input[i].Value[0]
	contains(val(i), text)
	words := split(text, " ")
	words[_] == "apt"
	msg := sprintf("apt at %d", [i])
}

deny[msg] {
	input[i].Cmd == "expose"
	to_number(input[i].Value[0]) > 65535
	msg := "port"
}

warn[msg] {
	input[i].Cmd == "copy"
	count(input[i].Value) > 2
	not endswith(input[i].Value[count(input[i].Value) - 1], "/")
	msg := "copy"
}
"#;
    let file = "FROM debian:latest AS a\nUSER x\nFROM a\nEXPOSE 70000\nCOPY b c d\nRUN apt update\n";
    let messages = |check: &str, file: &str| -> Vec<String> {
        let hits = judged(Form::Conftest, &[("policy/base.rego", check)], file).unwrap();
        hits.into_iter().map(|hit| hit.message).collect()
    };
    assert_eq!(
        messages(last_user, file),
        ["latest: debian:latest", "no user in the last stage"]
    );
    assert_eq!(
        messages(last_user, &format!("# exempt=user -- why\n{file}")),
        ["latest: debian:latest"]
    );
    assert_eq!(messages(helpers, file), ["apt at 5", "port", "copy"]);
}

#[test]
fn what_would_check_nothing_is_a_failure() {
    assert!(
        told(Form::Conftest, "package other\ndeny[msg] { msg := \"x\" }\n").contains("the package main has no rule")
    );
    assert!(told(Form::Trivy, "package a\nx := 1\n").contains("no file of checks has a rule"));
    let mut asked = request(Form::Trivy, &[("old.rego", OLD)], "FROM a\n");
    asked.namespaces = vec!["use".to_owned()];
    assert!(
        judge(asked.clone(), &mut |_| {})
            .unwrap_err()
            .to_string()
            .contains("the package use has no rule")
    );
    // One that is there is no excuse for one that is not.
    asked.namespaces = vec!["user".to_owned(), "usr.old".to_owned()];
    assert!(
        judge(asked.clone(), &mut |_| {})
            .unwrap_err()
            .to_string()
            .contains("the package usr.old has no rule")
    );
    asked.namespaces = vec!["user".to_owned()];
    assert_eq!(judge(asked, &mut |_| {}), Ok(Vec::new()));
}

#[test]
fn a_check_that_does_not_compile_is_told_with_its_place() {
    let why = told(
        Form::Trivy,
        "package a\n\nimport rego.v1\n\ndeny contains msg if {\n\tmsg := \n}\n",
    );
    assert!(why.starts_with("a.rego, line 6, column 9: "), "{why}");
    let why = told(Form::Trivy, "package a\ndeny[msg] { msg := nobody.knows(1) }\n");
    assert!(why.contains("a.rego, line 2") && why.contains("nobody.knows"), "{why}");
}

#[test]
fn what_reaches_outside_is_refused_before_anything_runs() {
    for (call, part) in [
        (
            "http.send({\"method\": \"get\", \"url\": \"http://x\"})",
            "http.send is refused: it reaches the network",
        ),
        ("opa.runtime()", "opa.runtime is refused"),
        ("time.now_ns()", "time.now_ns is refused"),
        ("rand.intn (\"x\", 3)", "rand.intn is refused"),
    ] {
        let why = told(
            Form::Trivy,
            &format!("package a\ndeny[msg] {{ false; msg := {call} }}\n"),
        );
        assert!(why.contains("a.rego, line 2, column 27") && why.contains(part), "{why}");
    }
    let harmless = "package a\n# http.send(1)\ndeny[msg] { false; msg := \"http.send(2) \\\" http.send(3)\" }\n";
    assert_eq!(judged(Form::Trivy, &[("a.rego", harmless)], "FROM a\n"), Ok(Vec::new()));
    // A function of ours under such a name is no way out either: nobody has it.
    let aliased = "package a\nimport data.http as h\ndeny[msg] { msg := h.send(1) }\n";
    assert!(judged(Form::Trivy, &[("a.rego", aliased)], "FROM a\n").is_err());
}

#[test]
fn a_result_that_is_no_message_is_a_failure_and_not_a_pass() {
    assert!(told(Form::Trivy, "package a\ndeny[x] { x := 5 }\n").contains("neither text nor an object with msg"));
    assert!(told(Form::Trivy, "package a\ndeny[x] { x := {\"m\": 1} }\n").contains("neither text nor"));
    let hits = judged(Form::Trivy, &[("a.rego", "package a\ndeny { true }\n")], "FROM a\n").unwrap();
    assert_eq!(hits[0].message, "the check a.deny says no");
    let many = "package a\ndeny[x] { x := sprintf(\"%d\", [numbers.range(1, 2000)[_]]) }\n";
    assert!(told(Form::Trivy, many).contains("more than 1000 results"));
}

#[test]
fn shell_text_that_cannot_be_read_is_a_failure_and_not_a_pass() {
    let texts = [("checks/SHOP7.rego", TRIVY), ("lib/shop.rego", LIBRARY)];
    let why = judged(Form::Trivy, &texts, "FROM a\nRUN if ; then ((((\n").unwrap_err();
    assert!(why.to_string().contains("shell text"), "{why}");
    // Also where the interpreter has another way to a result.
    let either = "package a\nimport rego.v1\nrisky(t) if {\n\tsome w in sh.parse_commands(t)\n\tw[0] == \"gdb\"\n}\nrisky(t) := false if startswith(t, \"true\")\ndeny contains \"no\" if risky(input.Stages[0].Commands[1].Value[0])\n";
    let file = format!("FROM a\nRUN true; gdb -p 1 # {}\n", "(".repeat(5_000));
    let why = judged(Form::Trivy, &[("a.rego", either)], &file).unwrap_err();
    assert!(why.to_string().contains("shell text"), "{why}");
}

#[test]
fn expressions_know_the_classes_that_those_of_go_know() {
    let check = "package a\nimport rego.v1\ndeny contains m if {\n\tsome m in regex.split(`\\s*&&\\s*`, input.Stages[0].Commands[1].Value[0])\n\tregex.match(`^\\w+ \\d$`, m)\n}\n";
    let hits = judged(Form::Trivy, &[("a.rego", check)], "FROM a\nRUN cd 1 && x y && ls 2\n").unwrap();
    let told: Vec<_> = hits.iter().map(|hit| &*hit.message).collect();
    assert_eq!(told, ["cd 1", "ls 2"]);
}

#[test]
fn a_name_that_is_declared_behind_a_loop_is_no_second_name_for_its_next_turn() {
    let check = "package a\nimport rego.v1\npairs(xs) := [k |\n\tx := xs[k]\n\tsome i, j\n\ti < j\n\tx[i] == x[j]\n]\ndeny contains sprintf(\"%v\", [k]) if {\n\tcmds := [c.Value | some c in input.Stages[0].Commands]\n\tx := cmds[_]\n\tcount(x) > 1\n\tsome k\n\tk = pairs(cmds)[_]\n}\n";
    let hits = judged(
        Form::Trivy,
        &[("a.rego", check)],
        "FROM a\nCMD [\"x\", \"y\", \"x\"]\nENTRYPOINT [\"z\", \"z\"]\n",
    )
    .unwrap();
    let told: Vec<_> = hits.iter().map(|hit| &*hit.message).collect();
    assert_eq!(told, ["1", "2"]);
}

#[test]
fn the_guests_text_is_data() {
    let echo = "package a\nimport rego.v1\ndeny contains cmd.Value[0] if {\n\tsome cmd in input.Stages[0].Commands\n\tcmd.Cmd == \"run\"\n}\n";
    let hostile = "FROM a\nRUN \"}, \"x\": 1}\\u0000 ]] } deny := false # http.send(1) \\\"\nRUN data.a.deny\n";
    let hits = judged(Form::Trivy, &[("a.rego", echo)], hostile).unwrap();
    assert_eq!(hits.len(), 2);
    assert!(
        hits.iter()
            .any(|hit| hit.message.contains("deny := false # http.send(1)"))
    );
    assert!(hits.iter().any(|hit| hit.message == "data.a.deny"));
    assert_eq!(path(&["a".into(), "b-c\"]".into()]), "data.a[\"b-c\\\"]\"]");
}
