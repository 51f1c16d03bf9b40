//! What needs no Engine.

use std::io::Write as _;

use serde_json::Value;

use crate::support::{root, seatrial};

fn json(args: &[&str]) -> (i32, Value) {
    let output = seatrial().args(args).output().unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), value)
}

#[test]
fn every_example_but_the_rejected_one_passes_the_judge() {
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path().join("Dockerfile");
        let output = seatrial().arg("analyze").arg(&path).output().unwrap();
        let expected = if path.to_string_lossy().contains("rejected") {
            3
        } else {
            0
        };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn analyze_names_rule_place_and_remedy_in_its_json() {
    let (code, report) = json(&["analyze", "--format", "json", "examples/rejected/Dockerfile"]);
    assert_eq!(
        (code, &report["version"], &report["files"][0]["verdict"]),
        (3, &1.into(), &"deny".into())
    );
    let findings = report["files"][0]["findings"].as_array().unwrap();
    let security = findings
        .iter()
        .find(|finding| finding["rule"] == "ST003")
        .expect("RUN --security is found");
    assert_eq!(
        (security["level"].as_str(), security["line"].as_u64()),
        (Some("error"), Some(3))
    );
    for key in ["column", "span", "message", "remedy"] {
        assert!(!security[key].is_null(), "{key}");
    }
}

#[test]
fn analyze_of_several_files_exits_with_3_when_one_blocks() {
    let (code, report) = json(&[
        "analyze",
        "--format",
        "json",
        "examples/perf/Dockerfile",
        "examples/rejected/Dockerfile",
    ]);
    assert_eq!(code, 3);
    assert_eq!(report["files"].as_array().unwrap().len(), 2);
    assert_eq!(report["files"][0]["verdict"], "pass");
}

#[test]
fn a_file_that_does_not_parse_is_a_finding_of_the_c40_rule() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(b"FROM busybox\nRNU true\n").unwrap();
    let path = file.path().to_str().unwrap();
    let (code, report) = json(&["analyze", "--format", "json", path]);
    let (_, rules) = json(&["rules", "--format", "json"]);
    let rule = rules["rules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rule| rule["concerns"].as_array().unwrap().contains(&"C40".into()))
        .unwrap();
    assert_eq!(code, 3);
    let findings = report["files"][0]["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["rule"] == rule["id"]);
    assert_eq!(found.expect("it is a finding")["line"], 2);
    let (code, job) = json(&["run", "--format", "json", path]);
    assert_eq!(
        (code, job["state"].as_str(), job["reason"].as_str()),
        (3, Some("rejected"), Some("unparsable"))
    );
}

#[test]
fn parse_lists_instructions_with_lower_case_keywords() {
    let (code, report) = json(&["parse", "--format", "json", "examples/multi-stage/Dockerfile"]);
    assert_eq!(code, 0);
    assert_eq!(report["error"], Value::Null);
    let copy = report["instructions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|instruction| instruction["keyword"] == "copy")
        .unwrap();
    assert_eq!(
        (&copy["flags"], &copy["json_form"], &copy["first_line"]),
        (&1.into(), &false.into(), &7.into())
    );
}

#[test]
fn a_missing_file_or_an_unknown_option_is_bad_usage() {
    for args in [
        &["run", "/nonexistent/Dockerfile"][..],
        &["analyze", "/nonexistent"],
        &["run", "--nope", "x"],
        &["rules", "ST999"],
        &["frobnicate"],
    ] {
        let output = seatrial().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?} says why");
    }
}

#[test]
fn the_embedded_policy_passes_its_own_check_and_asks_for_no_network() {
    let shown = seatrial().args(["policy", "show", "--default"]).output().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(&shown.stdout).unwrap();
    let checked = seatrial().args(["policy", "check"]).arg(file.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let open = String::from_utf8(shown.stdout)
        .unwrap()
        .replace("build = \"none\"", "build = \"egress\"");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(open.as_bytes()).unwrap();
    let refused = seatrial().args(["policy", "check"]).arg(file.path()).output().unwrap();
    assert_eq!(
        refused.status.code(),
        Some(2),
        "any network but none is a configuration error"
    );
}

#[test]
fn an_unknown_setting_in_the_environment_is_refused_by_name() {
    let output = seatrial()
        .env("SEATRIAL__DOCKER__HOTS", "x")
        .args(["config", "show"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).to_lowercase().contains("hots"));
}

#[test]
fn without_an_engine_a_run_ends_as_errored_and_says_what_to_do() {
    let output = seatrial()
        .env("SEATRIAL__DOCKER__HOST", "unix:///nonexistent/docker.sock")
        .args(["run", "--format", "json", "examples/perf/Dockerfile"])
        .output()
        .unwrap();
    let job = crate::support::job(&output);
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(
        (job["state"].as_str(), job["reason"].as_str(), job["blame"].as_str()),
        (Some("errored"), Some("engine_gone"), Some("platform"))
    );
    assert!(job["remedy"].as_str().unwrap().contains("doctor"));
}

#[test]
fn the_doctor_says_that_there_is_no_engine_and_what_to_do() {
    let output = seatrial()
        .env("SEATRIAL__DOCKER__HOST", "unix:///nonexistent/docker.sock")
        .args(["doctor", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["checks"][0]["name"], &report["checks"][0]["health"]),
        (&"engine".into(), &"missing".into())
    );
    assert!(report["checks"][0]["remedy"].is_string());
}

#[test]
fn the_variables_of_the_docker_client_say_where_the_engine_is() {
    let data = tempfile::tempdir().unwrap();
    let detail = |told: &[(&str, &str)]| {
        let mut command = seatrial();
        for name in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            command.env_remove(name);
        }
        let output = command
            .envs(told.iter().copied())
            .env("SEATRIAL__DATA_DIR", data.path())
            .env("HOME", "/nonexistent/home")
            .args(["doctor", "--format", "json"])
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["checks"][0]["detail"].as_str().unwrap().to_owned()
    };
    let host = ("DOCKER_HOST", "tcp://127.0.0.1:1");
    let path = ("DOCKER_CERT_PATH", "/nonexistent/certificates");
    assert!(detail(&[host]).contains("without TLS"), "{}", detail(&[host]));
    assert!(detail(&[host, path]).contains("/nonexistent/certificates/ca.pem cannot be used"));
    let verify = ("DOCKER_TLS_VERIFY", "1");
    assert!(detail(&[host, verify]).contains("/nonexistent/home/.docker/ca.pem cannot be used"));
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = seatrial().args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn hostile_names_and_lines_do_not_drive_the_terminal() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file()
        .write_all(b"FROM busybox\nRUN --security=insecure echo \x1b[31mred\x1b[0m\n")
        .unwrap();
    let output = seatrial().arg("analyze").arg(file.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));
}

#[test]
fn a_policy_with_a_misspelt_rule_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "version = 1\n[analysis.levels]\nST0003 = \"warn\"\n").unwrap();
    let output = seatrial()
        .args(["analyze", "examples/perf/Dockerfile", "--policy"])
        .arg(&policy)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("ST0003") && told.contains("line 3"), "{told}");
}

#[test]
fn nobody_is_attacked_who_did_not_agree() {
    for (args, says) in [
        (&["doctor", "--attack"] as &[&str], "there is no terminal to ask on"),
        (
            &["doctor", "--attack", "--yes", "--only", "nobody"],
            "there is no specimen 'nobody'",
        ),
        (&["doctor", "--yes"], "--attack"),
        (&["doctor", "--format", "sarif"], "--attack"),
    ] {
        let output = seatrial().args(args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.contains(says), "{args:?}: {told}");
    }
}
