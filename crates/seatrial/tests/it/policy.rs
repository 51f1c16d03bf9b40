//! Policies on the command line: names of other tools, composition, explanation, tests, differences.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::support::{folder, root, seatrial, soon};

const PLAIN: &str = "FROM busybox\nRUN true\n";
const FOREIGN: &str = "FROM quay.io/team/tool:1\nRUN true\n";

fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = seatrial().current_dir(folder).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(folder, args);
    (
        code,
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")),
    )
}

fn waiver(rule: &str, expires: &str) -> String {
    format!("[[waivers]]\nrule = \"{rule}\"\nreason = \"known\"\nowner = \"ann\"\nexpires = \"{expires}\"\n")
}

#[test]
fn another_tools_name_waives_and_a_misspelt_one_is_answered_with_the_right_one() {
    let copies = "FROM busybox\nCOPY --from=registry.example/tool /x /x\n";
    let good = format!("version = 1\n{}", waiver("hadolint:DL3022", &soon()));
    let bad = good.replace("DL3022", "DL3O22");
    let folder = folder(&[("Dockerfile", copies), ("good.toml", &good), ("bad.toml", &bad)]);
    let (_, report) = json(
        folder.path(),
        &["analyze", "--format", "json", "--policy", "good.toml", "Dockerfile"],
    );
    assert_eq!(report["files"][0]["waived"][0]["rule"], "ST016", "{report}");
    let (code, _, told) = run(folder.path(), &["policy", "check", "bad.toml"]);
    assert_eq!(code, 2);
    assert!(
        told.contains("bad.toml: line 3, column 8") && told.contains("did you mean hadolint:DL3022?"),
        "{told}"
    );
}

#[test]
fn a_waiver_that_ran_out_is_told_in_text_and_json() {
    let old = format!("version = 1\n{}", waiver("ST015", "2020-01-01"));
    let folder = folder(&[("Dockerfile", FOREIGN), ("p.toml", &old)]);
    let (code, report) = json(
        folder.path(),
        &["analyze", "--format", "json", "--policy", "p.toml", "Dockerfile"],
    );
    assert_eq!(
        (code, &report["files"][0]["expired_waivers"][0]["owner"]),
        (3, &"ann".into())
    );
    let (_, out, _) = run(folder.path(), &["analyze", "--policy", "p.toml", "Dockerfile"]);
    assert!(
        out.contains("the waiver of ST015 by ann (known) ended on 2020-01-01"),
        "{out}"
    );
}

#[test]
fn the_schema_that_is_printed_is_the_committed_one() {
    let (code, out, _) = run(&root(), &["policy", "schema"]);
    assert_eq!(code, 0);
    assert_eq!(out, fs::read_to_string(root().join("docs/policy.schema.json")).unwrap());
}

#[test]
fn several_files_make_one_policy_that_says_where_its_values_come_from() {
    let folder = folder(&[
        (
            "base.toml",
            "version = 1\nlocked = [\"vulnerabilities.block\"]\n[analysis]\nblock = \"warn\"\n",
        ),
        ("team.toml", "version = 1\n[limits.run]\npids = 7\n"),
        ("weak.toml", "version = 1\n[vulnerabilities]\nblock = \"none\"\n"),
        ("seatrial.toml", "[policy]\nfile = [\"base.toml\", \"team.toml\"]\n"),
    ]);
    let args = [
        "policy",
        "show",
        "--origins",
        "--policy",
        "base.toml",
        "--policy",
        "team.toml",
    ];
    let (code, by_option, _) = run(folder.path(), &args);
    assert_eq!(code, 0);
    for line in [
        "analysis.block = \"warn\"  # base.toml:4",
        "limits.run.pids = 7  # team.toml:3",
        "limits.run.cpus = 1.0  # default",
    ] {
        assert!(by_option.contains(line), "{by_option}");
    }
    let configured = ["--config", "seatrial.toml", "policy", "show", "--origins"];
    assert_eq!(run(folder.path(), &configured).1, by_option);
    let (code, _, told) = run(folder.path(), &["policy", "check", "base.toml", "weak.toml"]);
    assert_eq!(code, 2);
    assert!(
        told.contains("weak.toml: line 3") && told.contains("base.toml, line 2"),
        "{told}"
    );
}

#[test]
fn an_explanation_names_what_blocks_and_the_smallest_change() {
    let folder = folder(&[("Dockerfile", FOREIGN), ("plain", PLAIN)]);
    let (code, out, _) = run(folder.path(), &["policy", "explain", "Dockerfile"]);
    assert_eq!(code, 3);
    for part in [
        "Dockerfile: deny",
        "blocks ST015, line 1",
        "because error is at or above analysis.block = \"error\"",
        "waive ST015, with reason, owner and expiry: it passes",
        "smallest change (by the author), then pass:",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, report) = json(folder.path(), &["policy", "explain", "--format", "json", "Dockerfile"]);
    let explanation = &report["explanation"];
    assert_eq!((code, &explanation["verdict"]), (3, &"deny".into()));
    assert_eq!(explanation["by_operator"]["changes"][0]["change"], "waive");
    assert_eq!(explanation["by_operator"]["to"], "pass");
    let (code, report) = json(folder.path(), &["policy", "explain", "--format", "json", "plain"]);
    assert_eq!((code, &report["explanation"]["verdict"]), (0, &"pass".into()));
}

#[test]
fn a_job_is_explained_by_its_document_with_its_vulnerabilities() {
    let path = "tests/it/data/rejected-job.json";
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let (code, report) = json(
        &root(),
        &["policy", "explain", "--format", "json", document.to_str().unwrap()],
    );
    assert_eq!(code, 3);
    assert_eq!(report["subject"]["state"], "rejected");
    let smallest = &report["explanation"]["smallest"];
    assert_eq!(
        (
            &smallest["by"],
            &smallest["changes"][0]["change"],
            &smallest["changes"][0]["package"]
        ),
        (&"author".into(), &"upgrade".into(), &"zlib1g".into())
    );
    let folder = folder(&[("p.toml", "version = 1\n[vulnerabilities]\nblock = \"none\"\n")]);
    let (code, out, _) = run(
        folder.path(),
        &["policy", "explain", "--policy", "p.toml", document.to_str().unwrap()],
    );
    assert_eq!(code, 0);
    assert!(out.contains("it was judged by another one"), "{out}");
}

#[test]
fn what_cannot_be_explained_says_why() {
    let folder = folder(&[("x.json", "{\"a\": 1}")]);
    for (subject, says) in [
        ("x.json", "is not the document of a job"),
        ("nothing", "cannot open nothing"),
    ] {
        let (code, _, told) = run(folder.path(), &["policy", "explain", subject]);
        assert_eq!(code, 2);
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn cases_are_judged_and_what_is_not_as_expected_is_told() {
    let good = "verdict = \"deny\"\n[must]\nST015 = \"blocks\"\n[must_not]\n\"hadolint:DL3022\" = \"any\"\n";
    let folder = folder(&[
        ("cases/foreign/Dockerfile", FOREIGN),
        ("cases/foreign/expect.toml", good),
        ("cases/plain/Dockerfile", PLAIN),
        ("cases/plain/expect.toml", "verdict = \"pass\"\n"),
    ]);
    let (code, out, _) = run(folder.path(), &["policy", "test", "cases"]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("ok     foreign: deny") && out.contains("2 cases, 0 not as expected"),
        "{out}"
    );
    let wrong = "verdict = \"deny\"\n[must]\nST015 = \"error\"\n";
    fs::write(folder.path().join("cases/plain/expect.toml"), wrong).unwrap();
    let (code, report) = json(folder.path(), &["policy", "test", "cases", "--format", "json"]);
    assert_eq!((code, &report["failed"]), (1, &1.into()));
    assert_eq!(report["outcomes"][1]["problems"].as_array().unwrap().len(), 2);
    let (code, out, _) = run(folder.path(), &["policy", "test", "cases", "--format", "junit"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("<testsuite name=\"policy\" tests=\"2\" failures=\"1\">"),
        "{out}"
    );
}

#[test]
fn a_case_is_judged_on_its_own_day() {
    let policy = format!("version = 1\n{}", waiver("ST015", "2027-01-31"));
    let expect = |verdict: &str, day: &str| format!("verdict = \"{verdict}\"\ntoday = \"{day}\"\n");
    let folder = folder(&[
        ("p.toml", &policy),
        ("cases/before/Dockerfile", FOREIGN),
        ("cases/before/expect.toml", &expect("pass", "2027-01-31")),
        ("cases/after/Dockerfile", FOREIGN),
        ("cases/after/expect.toml", &expect("deny", "2027-02-01")),
    ]);
    let (code, out, _) = run(folder.path(), &["policy", "test", "--policy", "p.toml", "cases"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn cases_that_cannot_be_used_are_bad_usage() {
    for (expect, says) in [
        ("verdict = \"maybe\"", "expect.toml cannot be used"),
        ("verdict = \"pass\"\nmist = 1", "unknown field"),
        ("verdict = \"pass\"\n[must]\nDL3O22 = \"any\"", "did you mean DL3022?"),
        ("verdict = \"pass\"\ntoday = \"soon\"", "write it like"),
    ] {
        let folder = folder(&[("cases/a/Dockerfile", PLAIN), ("cases/a/expect.toml", expect)]);
        let (code, _, told) = run(folder.path(), &["policy", "test", "cases"]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(says), "{told}");
    }
    let empty = tempfile::tempdir().unwrap();
    let (code, _, told) = run(empty.path(), &["policy", "test", "."]);
    assert!(code == 2 && told.contains("has no cases"), "{told}");
}

#[test]
fn a_difference_names_files_findings_and_the_key() {
    let folder = folder(&[
        ("new.toml", "version = 1\n[analysis.levels]\nST015 = \"warn\"\n"),
        ("corpus/a/Dockerfile", FOREIGN),
        ("corpus/b.Dockerfile", PLAIN),
        ("corpus/readme.md", "not read"),
    ]);
    let args = ["policy", "diff", "default", "new.toml", "--corpus", "corpus"];
    let (code, out, _) = run(folder.path(), &args);
    assert_eq!(code, 1);
    for part in [
        "analysis.levels.ST015: not set -> \"warn\"",
        "corpus/a/Dockerfile: deny -> pass",
        "ST015 at line 1: error, blocks -> warn (analysis.levels.ST015)",
        "2 files: 0 newly denied, 1 newly passed, 0 differ in findings alone",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, report) = json(folder.path(), &[&args[..], &["--format", "json"]].concat());
    assert_eq!((code, &report["passed_now"]), (1, &1.into()));
    let same = ["policy", "diff", "default", "default", "--corpus", "corpus"];
    assert_eq!(run(folder.path(), &same).0, 0);
    let none = ["policy", "diff", "default", "default", "--corpus", "corpus/a/nowhere"];
    assert_eq!(run(folder.path(), &none).0, 2);
}

#[test]
fn every_example_of_the_documentation_is_a_policy() {
    let text = fs::read_to_string(root().join("docs/POLICY.md")).unwrap();
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let check = "package user.a\ndeny[msg] {\n\tinput.Stages[_].Name == \"a\"\n\tmsg := \"b\"\n}\n";
        let folder = folder(&[("policy.toml", example), ("checks/a.rego", check)]);
        let (code, _, told) = run(folder.path(), &["policy", "check", "policy.toml"]);
        assert_eq!(code, 0, "{told}{example}");
    }
}

#[test]
fn a_condition_of_the_operators_sees_the_file_and_denies_under_its_name() {
    let policy = |when: &str| {
        format!(
            "version = 1\n[[expressions]]\nname = \"mine\"\nwhen = '''{when}'''\nmessage = \"Not here.\"\nowner = \"ann\"\n"
        )
    };
    let file = "ARG TAG=1\nFROM busybox:$TAG AS a\nLABEL other=1\nFROM busybox:$TAG\nENV C=red\nLABEL \"team\"='re'\"d\" mine=$C\nRUN true\nRUN true\n";
    let folder = folder(&[("Dockerfile", file)]);
    let all = "bases == ['docker.io/library/busybox:1'] && labels.team == 'red' && labels.mine == 'red' && !('other' in labels) && counts.run == 2 && bytes < 200";
    for (when, code) in [(all, 3), ("counts.run > 2", 0), ("labels.owner == 'x'", 3)] {
        fs::write(folder.path().join("p.toml"), policy(when)).unwrap();
        let args = ["analyze", "--format", "json", "--policy", "p.toml", "Dockerfile"];
        let (ended, report) = json(folder.path(), &args);
        assert_eq!(ended, code, "{when}: {report}");
        if code == 3 {
            let rule = if when == all {
                "expression:mine"
            } else {
                "expression:failed"
            };
            assert_eq!(report["files"][0]["blocking"][0], rule, "{report}");
            let findings = report["files"][0]["findings"].as_array().unwrap();
            let mine = findings.iter().find(|finding| finding["rule"] == rule);
            let told = mine.unwrap()["message"].as_str().unwrap();
            assert_eq!(told == "Not here.", when == all, "{told}");
        }
    }
    let (code, told, _) = run(
        folder.path(),
        &["policy", "explain", "--policy", "p.toml", "Dockerfile"],
    );
    assert_eq!(code, 3);
    assert!(
        told.contains("blocks expression:failed")
            && told.contains("cannot be worked out")
            && !told.contains("waive expression"),
        "{told}"
    );
}
