//! What `seatrial analyze` takes and prints.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::support::{folder, root, seatrial, soon};

/// Blocks (ST003).
const BAD: &str = "FROM busybox\nRUN --security=insecure id\n";

fn analyze(folder: &Path, args: &[&str]) -> Output {
    seatrial()
        .current_dir(folder)
        .arg("analyze")
        .args(args)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn a_directory_is_judged_file_by_file_with_a_total() {
    let folder = folder(&[("a b/Dockerfile", BAD), ("web.Dockerfile", BAD)]);
    let output = analyze(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(3));
    let text = stdout(&output);
    assert!(
        text.contains("./a b/Dockerfile: deny.") && text.contains("./web.Dockerfile: deny."),
        "{text}"
    );
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .starts_with("2 files, 2 denied: "),
        "{text}"
    );
}

#[test]
fn the_exit_code_follows_the_level_that_is_asked_for() {
    let folder = folder(&[("Dockerfile", BAD), ("clean", "FROM scratch\nCOPY a /a\n")]);
    let code = |args: &[&str]| analyze(folder.path(), args).status.code();
    assert_eq!(code(&["Dockerfile"]), Some(3));
    assert_eq!(code(&["Dockerfile", "--exit-code", "never"]), Some(0));
    assert_eq!(code(&["Dockerfile", "--exit-code", "error"]), Some(3));
    assert_eq!(code(&["clean", "--exit-code", "error"]), Some(0));
    assert_eq!(code(&["nothing-here"]), Some(2));
}

#[test]
fn standard_input_is_judged_as_a_file() {
    let mut child = seatrial()
        .args(["analyze", "-", "--format", "line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(BAD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).contains("-:2:5: error[ST003]"), "{}", stdout(&output));
}

/// The log, valid by the standard's own schema and by what code scanning asks of uploads.
fn sarif(output: &Output) -> Value {
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = fs::read(root().join("crates/seatrial/tests/data/sarif-2.1.0.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&schema).unwrap();
    // Two patterns of the published schema are no regular expressions in most dialects; we say no language.
    for part in ["run", "toolComponent"] {
        schema["definitions"][part]["properties"]["language"]
            .as_object_mut()
            .unwrap()
            .remove("pattern");
    }
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&log)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    log
}

#[test]
fn sarif_is_valid_and_holds_what_code_scanning_needs() {
    let folder = folder(&[("a b/Dockerfile", BAD), ("b/Dockerfile", "FROM busybox\nRNU true\n")]);
    let output = analyze(folder.path(), &[".", "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(3));
    let log = sarif(&output);
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let mut prints = Vec::new();
    for result in results {
        let place = &result["locations"][0]["physicalLocation"];
        assert!(
            ["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()),
            "{result}"
        );
        for key in ["startLine", "startColumn", "endLine", "endColumn"] {
            assert!(place["region"][key].as_u64().unwrap() >= 1, "{result}");
        }
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        let page = rule["helpUri"].as_str().unwrap();
        let page = root().join("docs/rules").join(page.rsplit_once('/').unwrap().1);
        assert!(page.is_file(), "{} is there", page.display());
        prints.push(result["partialFingerprints"]["seatrialFinding/v1"].as_str().unwrap());
    }
    let security = results.iter().find(|result| result["ruleId"] == "ST003").unwrap();
    let place = &security["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b/Dockerfile");
    assert_eq!(
        (
            &place["region"]["startLine"],
            &place["region"]["startColumn"],
            &place["region"]["endColumn"]
        ),
        (&2.into(), &5.into(), &24.into())
    );
}

#[test]
fn a_finding_that_moves_keeps_its_fingerprint() {
    let print = |text: &str| {
        let folder = folder(&[("Dockerfile", text)]);
        let log = sarif(&analyze(folder.path(), &["Dockerfile", "--format", "sarif"]));
        let results = log["runs"][0]["results"].as_array().unwrap();
        let security = results.iter().find(|result| result["ruleId"] == "ST003").unwrap();
        security["partialFingerprints"]["seatrialFinding/v1"].clone()
    };
    assert_eq!(print(BAD), print(&BAD.replace("RUN", "USER nobody\n\nRUN")));
    assert_ne!(print(BAD), print(&BAD.replace("insecure", "other")));
}

#[test]
fn other_tools_forms_name_rule_and_place() {
    let folder = folder(&[("sub/Dockerfile", BAD)]);
    let output = analyze(folder.path(), &["./sub", "--format", "github"]);
    assert!(
        stdout(&output).contains("::error file=sub/Dockerfile,line=2,endLine=2,col=5,endColumn=24,title=ST003::"),
        "{}",
        stdout(&output)
    );
    let output = analyze(folder.path(), &["sub", "--format", "gitlab"]);
    let issues: Value = serde_json::from_slice(&output.stdout).unwrap();
    let security = issues
        .as_array()
        .unwrap()
        .iter()
        .find(|issue| issue["check_name"] == "ST003");
    assert_eq!(security.unwrap()["location"]["path"], "sub/Dockerfile");
    let output = analyze(folder.path(), &["sub", "--format", "checkstyle"]);
    assert!(
        stdout(&output).contains("source=\"seatrial.ST003\""),
        "{}",
        stdout(&output)
    );
}

/// Each line of it can be corrected, but the last.
const SLOPPY: &str = "FROM busybox as base\nMAINTAINER ann\nENV a b\nADD src /src\nRUN true\n";

#[test]
fn a_diff_changes_nothing_and_a_fix_writes_what_the_diff_showed() {
    let folder = folder(&[("Dockerfile", SLOPPY)]);
    let path = folder.path().join("Dockerfile");
    let shown = analyze(folder.path(), &["--diff", "Dockerfile"]);
    let diff = stdout(&shown).to_owned();
    assert!(
        diff.contains("-MAINTAINER ann\n") && diff.contains("+ENV a=b\n"),
        "{diff}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), SLOPPY);

    let before = analyze(folder.path(), &["Dockerfile", "--format", "line"]);
    analyze(folder.path(), &["--fix", "Dockerfile"]);
    let fixed = fs::read_to_string(&path).unwrap();
    assert!(
        fixed.contains("ENV a=b\n") && fixed.contains("COPY src /src\n"),
        "{fixed}"
    );
    let after = analyze(folder.path(), &["Dockerfile", "--format", "line"]);
    assert!(stdout(&after).lines().count() < stdout(&before).lines().count());
    assert_eq!(stdout(&analyze(folder.path(), &["--diff", "Dockerfile"])), "");
}

#[test]
fn a_fixed_file_keeps_its_permissions_and_a_link_stays_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder(&[("real", SLOPPY)]);
    let (real, link) = (folder.path().join("real"), folder.path().join("Dockerfile"));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    analyze(folder.path(), &["--fix", "Dockerfile"]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert_ne!(fs::read_to_string(&real).unwrap(), SLOPPY);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left");
}

#[test]
fn a_fix_of_standard_input_is_printed() {
    let mut child = seatrial()
        .args(["analyze", "--fix", "-", "--exit-code", "never"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(SLOPPY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("\nENV a=b\n") && text.contains("RUN true\n"), "{text}");
}

#[test]
fn what_a_policy_does_not_report_is_not_corrected() {
    let folder = folder(&[
        ("Dockerfile", SLOPPY),
        ("policy.toml", "version = 1\n[analysis.levels]\nST553 = \"off\"\n"),
    ]);
    analyze(folder.path(), &["--fix", "--policy", "policy.toml", "Dockerfile"]);
    let text = fs::read_to_string(folder.path().join("Dockerfile")).unwrap();
    assert!(text.contains("ENV a b\n") && text.contains("COPY src /src\n"), "{text}");
}

#[test]
fn what_a_waiver_lets_pass_is_not_corrected() {
    let waiver = "version = 1\n[[waivers]]\nrule = \"ST553\"\nreason = \"r\"\nowner = \"ann\"\nexpires = \"DAY\"\n";
    let folder = folder(&[("Dockerfile", SLOPPY), ("policy.toml", &waiver.replace("DAY", &soon()))]);
    analyze(folder.path(), &["--fix", "--policy", "policy.toml", "Dockerfile"]);
    let text = fs::read_to_string(folder.path().join("Dockerfile")).unwrap();
    assert!(text.contains("ENV a b\n") && text.contains("COPY src /src\n"), "{text}");
}

#[test]
fn of_two_findings_of_a_rule_only_the_waived_one_is_left_alone() {
    let waiver = "version = 1\n[[waivers]]\nrule = \"ST553\"\nmatch = \"`old`\"\nreason = \"r\"\nowner = \"ann\"\n";
    let policy = format!("{waiver}expires = \"{}\"\n", soon());
    let folder = folder(&[
        ("Dockerfile", "FROM busybox\nENV old b\nENV new b\n"),
        ("policy.toml", &policy),
    ]);
    let json = analyze(
        folder.path(),
        &["--format", "json", "--policy", "policy.toml", "Dockerfile"],
    );
    let document: Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!(document["files"][0]["waived"][0]["line"], 2, "{document:#}");
    let log = sarif(&analyze(
        folder.path(),
        &["--format", "sarif", "--policy", "policy.toml", "Dockerfile"],
    ));
    let results = log["runs"][0]["results"].as_array().unwrap();
    let waived = results.iter().find(|result| result["suppressions"].is_array()).unwrap();
    assert_eq!(waived["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
    analyze(folder.path(), &["--fix", "--policy", "policy.toml", "Dockerfile"]);
    let text = fs::read_to_string(folder.path().join("Dockerfile")).unwrap();
    assert_eq!(text, "FROM busybox\nENV old b\nENV new=b\n");
}

/// Refreshed by `SEATRIAL_REFRESH=1 cargo nextest run -E 'test(the_json_form)'`.
#[test]
fn the_json_form_is_what_its_published_schema_says() {
    let path = root().join("docs/analyze.schema.json");
    let output = analyze(&root(), &["--schema"]);
    let now = stdout(&output);
    if std::env::var_os("SEATRIAL_REFRESH").is_some() {
        fs::write(&path, now).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == now,
        "docs/analyze.schema.json is not what the code says; run the tests again with SEATRIAL_REFRESH=1"
    );
    let schema: Value = serde_json::from_str(now).unwrap();
    let valid = jsonschema::validator_for(&schema).unwrap();

    let waiver = |rule: &str, days: i64| {
        let when = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let day = when.strftime("%Y-%m-%d");
        format!("[[waivers]]\nrule = \"{rule}\"\nreason = \"r\"\nowner = \"o\"\nexpires = {day}\n")
    };
    let policy = format!("version = 1\n{}{}", waiver("ST003", 30), waiver("ST104", -30));
    let folder = folder(&[
        ("Dockerfile", BAD),
        ("a.Dockerfile", "FROM scratch\nMAINTAINER me\n"),
        ("empty.Dockerfile", ""),
        ("policy.toml", &policy),
    ]);
    let output = analyze(folder.path(), &[".", "--format", "json", "--policy", "policy.toml"]);
    let mut document: Value = serde_json::from_str(stdout(&output)).unwrap();
    let errors: Vec<String> = valid
        .iter_errors(&document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let files = document["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["waived"][0]["rule"] == "ST003"));
    assert!(files.iter().any(|file| file["expired_waivers"][0]["rule"] == "ST104"));
    let mut findings = files.iter().flat_map(|file| file["findings"].as_array().unwrap());
    assert!(findings.any(|finding| finding["fix"]["edits"].is_array()));

    document["files"][0]["verdict"] = "maybe".into();
    assert!(!valid.is_valid(&document), "the schema takes any verdict");
}

#[test]
fn a_form_of_one_document_waits_for_all_files_and_others_tell_each_at_once() {
    let folder = folder(&[("Dockerfile", BAD), ("b.Dockerfile", BAD)]);
    let lines = analyze(folder.path(), &["Dockerfile", "missing", "--format", "line"]);
    assert_eq!(lines.status.code(), Some(2));
    assert!(stdout(&lines).contains("Dockerfile:2:"));
    let json = analyze(folder.path(), &["Dockerfile", "missing", "--format", "json"]);
    assert_eq!((json.status.code(), stdout(&json)), (Some(2), ""));
}
