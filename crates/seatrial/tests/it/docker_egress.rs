//! The way out: what the policy allows is reached through the proxy, and nothing else is reached at all.

use std::time::Instant;

use serde_json::Value;

use crate::{
    mirror::{BIG, Mirror},
    support::{assert_clean, docker, run},
};

/// Tries a Dockerfile with this policy: exit code and job.
fn trial(policy: &str, dockerfile: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Dockerfile");
    std::fs::write(&file, dockerfile).unwrap();
    let rules = folder.path().join("policy.toml");
    std::fs::write(&rules, policy).unwrap();
    let (file, rules) = (file.to_str().unwrap(), rules.to_str().unwrap());
    run(&["--no-sbom", "--no-config-checks", "--policy", rules, file])
}

/// The requests of a stage: host, port, verdict.
fn asked(job: &Value, stage: &str) -> Vec<(String, u64, String)> {
    let rows = job["egress"][stage]["requests"].as_array().cloned().unwrap_or_default();
    rows.iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("host"), row["port"].as_u64().unwrap(), text("verdict"))
        })
        .collect()
}

fn row(host: &str, port: u64, verdict: &str) -> (String, u64, String) {
    (host.to_owned(), port, verdict.to_owned())
}

const RESULT: &str = "CMD echo '{\"perf\": 1}' >/data/perf.json\n";

#[test]
fn docker_a_build_reaches_what_is_allowed_and_the_image_knows_nothing_of_it() {
    let mirror = Mirror::start();
    let text = "FROM busybox\n\
         RUN test \"$(wget -q -O- http://mirror.test/hello)\" = hello && env | grep -q ^HTTPS_PROXY=\n\
         CMD if env | grep -qi proxy || wget -q -T 2 -O- http://mirror.test/hello; then exit 9; fi; \
             echo '{\"perf\": 1}' >/data/perf.json\n";
    let (code, job) = trial(&mirror.policy("egress", "none"), text);
    assert_eq!((code, &job["result"]["value"]["perf"]), (0, &1.into()), "{job:#}");
    assert_eq!(asked(&job, "build"), [row("mirror.test", 80, "allowed")]);
    let seen = &job["egress"]["build"]["requests"][0];
    assert_eq!(
        (&seen["method"], &seen["status"], &seen["bytes_down"]),
        (&"GET".into(), &200.into(), &6.into())
    );
    // Of "hello\n".
    let sha256 = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(seen["sha256"], sha256);
    assert_eq!(job["egress"]["run"], Value::Null);
    assert_eq!(job["walls"]["network"], "none");
    assert_clean("a build with a way out");
}

#[test]
fn docker_a_guest_reaches_what_is_allowed_and_its_output_is_kept() {
    let mirror = Mirror::start();
    let text = "FROM busybox\n\
         RUN ! wget -q -T 2 -O- http://mirror.test/hello\n\
         CMD echo to the log; wget -q -O- http://mirror.test/hello; wget -O- http://other.test/; \
             ip -o link | wc -l; exit 7\n";
    let (code, job) = trial(&mirror.policy("none", "egress"), text);
    assert_eq!((code, &job["reason"]), (1, &"exit_code".into()), "{job:#}");
    assert_eq!(
        asked(&job, "run"),
        [row("mirror.test", 80, "allowed"), row("other.test", 80, "refused")]
    );
    let log = job["log_tail"].to_string();
    for line in ["\"to the log\"", "\"hello\"", "403", "\"1\""] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert_eq!(job["walls"]["network"], "none");
    assert_clean("a run with a way out");
}

/// Each command must fail, inside and by itself; what was asked of the proxy is in the evidence.
#[test]
fn docker_what_is_not_allowed_is_not_reached() {
    let mirror = Mirror::start();
    let (here, gateway) = (mirror.address, mirror.gateway);
    let unproxied = [
        // The address itself, the Engine's host, where clouds keep secrets, over IPv6, by name.
        format!("wget -Y off -q -T 2 -O- http://{here}/hello"),
        format!("nc -w 2 {here} 80 </dev/null"),
        format!("nc -w 2 {gateway} 80 </dev/null"),
        "nc -w 2 169.254.169.254 80 </dev/null".to_owned(),
        "nc -w 2 fe80::1 80 </dev/null".to_owned(),
        format!("nslookup secret.mirror.test {here}"),
        "nslookup mirror.test".to_owned(),
        "ip -o link | grep -v ': lo'".to_owned(),
        "ip -o route | grep .".to_owned(),
    ];
    let proxied = [
        (
            "http://unlisted.test/hello".to_owned(),
            row("unlisted.test", 80, "refused"),
        ),
        ("http://mirror.test:25/".to_owned(), row("mirror.test", 25, "refused")),
        (format!("http://{gateway}/"), row(&gateway.to_string(), 80, "refused")),
        (
            "http://169.254.169.254/".to_owned(),
            row("169.254.169.254", 80, "refused"),
        ),
        ("http://gateway.test/".to_owned(), row("gateway.test", 80, "refused")),
        ("http://meta.test/".to_owned(), row("meta.test", 80, "refused")),
    ];
    let mut text = "FROM busybox\n".to_owned();
    for command in &unproxied {
        text.push_str(&format!("RUN ! {{ {command}; }}\n"));
    }
    let mut expected = Vec::new();
    for (url, seen) in proxied {
        text.push_str(&format!("RUN wget -T 9 -O- {url} 2>&1 | grep -w 403\n"));
        expected.push(seen);
    }
    // A name that is allowed and then is somewhere else.
    text.push_str("RUN wget -q -O- http://rebind.test/hello | grep hello\nRUN wget -O- http://rebind.test/hello 2>&1 | grep -w 403\n");
    expected.extend([row("rebind.test", 80, "allowed"), row("rebind.test", 80, "refused")]);
    // A host that sends us on to where we may not go.
    text.push_str("RUN wget -O- http://mirror.test/redirect-name 2>&1 | grep -w 403\n");
    expected.extend([row("mirror.test", 80, "allowed"), row("gateway.test", 80, "refused")]);
    // A tunnel to where no tunnel leads.
    for target in [
        "mirror.test:25",
        "mirror.test:80",
        "gateway.test:443",
        "unlisted.test:443",
    ] {
        text.push_str(&format!(
            "RUN printf 'CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n' | nc -w 9 127.0.0.1 3128 | head -n 1 | grep -w 403\n"
        ));
        let (host, port) = target.split_once(':').unwrap();
        expected.push(row(host, port.parse().unwrap(), "refused"));
    }
    text.push_str(RESULT);
    let (code, job) = trial(&mirror.policy("egress", "none"), &text);
    assert_eq!(code, 0, "{job:#}");
    assert_eq!(asked(&job, "build"), expected, "{job:#}");
    assert_clean("refused requests");
}

#[test]
fn docker_packages_are_installed_from_a_mirror() {
    let mirror = Mirror::start();
    let text = format!(
        "FROM seatrial-test/python:1\n\
         COPY <<EOF /ca.pem\n{}EOF\n\
         RUN pip install --break-system-packages --cert /ca.pem --index-url https://mirror.test/simple tiny \\\n\
             && test \"$(python3 -c 'import tiny; print(tiny.WHERE)')\" = 'from the mirror'\n\
         {RESULT}",
        mirror.authority
    );
    let (code, job) = trial(&mirror.policy("egress", "none"), &text);
    assert_eq!(code, 0, "{job:#}");
    let seen = asked(&job, "build");
    assert!(
        !seen.is_empty() && seen.iter().all(|one| *one == row("mirror.test", 443, "allowed")),
        "{seen:?}"
    );
    let text = format!(
        "FROM debian:bookworm-slim\n\
         RUN echo 'deb [trusted=yes] http://mirror.test/apt ./' >/etc/apt/sources.list \
             && rm -rf /etc/apt/sources.list.d && apt-get update && apt-get install -y tiny && grep mirror /opt-tiny\n\
         {RESULT}"
    );
    let (_, job) = trial(&mirror.policy("egress", "none"), &text);
    assert_ne!(job["reason"], "build_failed", "{job:#}");
    let seen = asked(&job, "build");
    assert!(
        seen.len() >= 3 && seen.iter().all(|(host, ..)| host == "mirror.test"),
        "{job:#}"
    );
    assert_clean("two installations");
}

#[test]
fn docker_a_large_download_comes_through_whole_and_bounded() {
    let mirror = Mirror::start();
    let text = format!("FROM busybox\nRUN test $(wget -q -O- http://mirror.test/big | wc -c) = {BIG}\n{RESULT}");
    let began = Instant::now();
    let (code, job) = trial(&mirror.policy("egress", "none"), &text);
    assert_eq!(code, 0, "{job:#}");
    eprintln!(
        "{BIG} bytes in a build: {:?} for the job, {} ms for its build",
        began.elapsed(),
        job["timings_ms"]["build"]
    );
    let small = mirror.policy("egress", "none") + "bytes = \"1MiB\"\n";
    let (code, job) = trial(&small, &text);
    assert_eq!((code, &job["reason"]), (1, &"build_failed".into()), "{job:#}");
    let [(_, _, verdict)] = &asked(&job, "build")[..] else {
        panic!("{job:#}");
    };
    assert_eq!(verdict, "refused");
    let came = job["egress"]["build"]["requests"][0]["bytes_down"].as_u64().unwrap();
    assert!((1..=1 << 20).contains(&came), "{came}");
    assert_clean("two large downloads");
}

#[test]
fn docker_no_proxy_outlives_its_worker() {
    let mirror = Mirror::start();
    let text = "FROM busybox\nRUN wget -q -O- http://mirror.test/hello; sleep 1000\nCMD true\n";
    let policy = mirror.policy("egress", "none");
    let worker = crate::docker_lifecycle::killed_when_it_says(&policy, "build", text, "hello");
    assert!(!worker.is_empty(), "the proxy ran: {worker:?}");
    crate::house::until("nothing of it runs", std::time::Duration::from_secs(60), || {
        docker(&["ps", "--quiet", "--filter", "name=^st-"]).is_empty()
    });
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    assert_clean("a death with a way out");
}
