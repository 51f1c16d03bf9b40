//! Each example does what its first line says.

use crate::support::{assert_clean, on_engine, run};

#[test]
fn docker_perf_gives_its_number_with_the_evidence() {
    let (code, job) = run(&["examples/perf/Dockerfile"]);
    assert_eq!((code, job["state"].as_str()), (0, Some("succeeded")), "{job:#}");
    assert_eq!(job["result"]["value"]["perf"], 0.99);
    assert_eq!(job["scan"]["database_kind"], "fixture");
    assert_eq!(job["walls"]["network"], "none");
    assert_eq!(job["walls"]["user_namespace"], crate::support::has_user_namespaces());
    assert!(
        job["usage"]["run"]["memory_peak"].as_u64().unwrap() > 0
            && job["usage"]["run"]["cpu_s"].as_f64().unwrap() > 0.0
    );
    assert_clean("the perf example");
}

#[test]
fn docker_the_last_line_for_people_is_the_result() {
    let output = on_engine()
        .args(["run", "--fixture-db", "examples/perf/Dockerfile"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.trim_end().lines().last(), Some(r#"{"perf":0.99}"#), "{text}");
    assert!(
        text.contains("succeeded") && text.contains("scan.database_kind: fixture"),
        "{text}"
    );
}

#[test]
fn docker_multi_stage_carries_a_file_into_another_base() {
    let (code, job) = run(&["examples/multi-stage/Dockerfile"]);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &0.99.into()), "{job:#}");
    assert_eq!(job["image"]["bases"].as_array().unwrap().len(), 2);
}

#[test]
fn docker_heredocs_are_built_as_they_were_judged() {
    let (code, job) = run(&["examples/heredoc/Dockerfile"]);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &0.97.into()), "{job:#}");
}

#[test]
fn docker_a_context_is_packed_without_what_dockerignore_leaves_out() {
    let (code, job) = run(&["examples/context/Dockerfile", "--context", "examples/context"]);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &0.96.into()), "{job:#}");
}

#[test]
fn docker_inputs_are_there_to_read() {
    let (code, job) = run(&["examples/inputs/Dockerfile", "--input", "examples/inputs/answers.csv"]);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &0.75.into()), "{job:#}");
}

#[test]
fn docker_a_vulnerable_image_is_blocked_by_name_and_never_run() {
    let (code, job) = run(&["examples/vulnerable/Dockerfile"]);
    assert_eq!(
        (code, job["state"].as_str(), job["reason"].as_str()),
        (3, Some("rejected"), Some("vulnerabilities_block")),
        "{job:#}"
    );
    let blocking = job["scan"]["blocking"][0]["id"].as_str().unwrap();
    assert!(job["message"].as_str().unwrap().contains(blocking), "{job:#}");
    assert!(job["walls"].is_null(), "nothing ran");
    assert_clean("the vulnerable example");
}

#[test]
fn docker_a_failing_step_names_its_line_and_its_last_words() {
    let (code, job) = run(&["examples/failing/Dockerfile"]);
    assert_eq!(
        (code, job["state"].as_str(), job["reason"].as_str()),
        (1, Some("failed"), Some("build_failed")),
        "{job:#}"
    );
    let message = job["message"].as_str().unwrap();
    assert!(
        message.contains("line 4") && message.contains("exit code 3"),
        "{message}"
    );
    assert!(job["log_tail"].to_string().contains("no such data set"), "{job:#}");
    assert_clean("the failing example");
}

#[test]
fn docker_output_holds_the_exact_bytes_logs_sbom_and_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, "FROM busybox\nCMD echo hello; echo kept > /data/model.txt; echo x > '/data/odd name'; ln -s model.txt /data/link; printf '{ \"perf\" : 1 }' > /data/perf.json\n").unwrap();
    let out = folder.path().join("out");
    let (code, job) = run(&[dockerfile.to_str().unwrap(), "--output", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{job:#}");
    assert_eq!(std::fs::read(out.join("result.json")).unwrap(), b"{ \"perf\" : 1 }");
    assert_eq!(std::fs::read(out.join("artifacts/model.txt")).unwrap(), b"kept\n");
    assert_eq!(std::fs::read(out.join("run.log")).unwrap(), b"hello\n");
    let sbom: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("sbom.cdx.json")).unwrap()).unwrap();
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    assert!(!out.join("artifacts/link").exists() && !out.join("artifacts/odd name").exists());
    let skipped = job["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|artifact| !artifact["skipped"].is_null())
        .count();
    assert_eq!(skipped, 2, "{job:#}");
    let again = on_engine()
        .args([
            "run",
            "--fixture-db",
            "--output",
            out.to_str().unwrap(),
            dockerfile.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_eq!(
        again.status.code(),
        Some(2),
        "a folder that is not empty is never written into"
    );
}

#[test]
fn docker_without_a_real_database_a_run_errs_and_names_the_command() {
    let output = on_engine()
        .args(["run", "--format", "json", "examples/perf/Dockerfile"])
        .output()
        .unwrap();
    let job = crate::support::job(&output);
    if job["scan"]["database_kind"] == "real" {
        return; // this machine has a real one: nothing is missing
    }
    assert_eq!(
        (output.status.code(), job["reason"].as_str()),
        (Some(6), Some("database_missing")),
        "{job:#}"
    );
    assert!(job["remedy"].as_str().unwrap().contains("seatrial db update"));
    assert!(
        job["message"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("scanner database missing")
    );
}
