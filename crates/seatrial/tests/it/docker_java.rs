//! Java archives: what they are is in a database of its own, and without it nothing is called clean.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{dev_config, first_trial, folder};

/// An archive of one empty class, whose digest alone tells the fixture what it is.
const TEXT: &str = "FROM busybox:latest\n\
    RUN mkdir /app && echo UEsDBBQAAAAAAAAAIVwAAAAAAAAAAAAAAAAHAAAAQS5jbGFzc1BLAQIUAxQAAAAAAAAAIVwAAAAAAAAAAAAAAAAHAAAA\
    AAAAAAAAAACAAQAAAABBLmNsYXNzUEsFBgAAAAABAAEANQAAACUAAAAAAA== | base64 -d > /app/nameless.jar\n\
    CMD echo '{\"perf\": 1}' > /data/perf.json\n";

fn trial(database: &Path) -> Value {
    let place = folder(&[("Dockerfile", TEXT)]);
    let database = database.to_str().unwrap();
    first_trial(place.path(), &[], &[("SEATRIAL__SCAN__FIXTURE_DB", database)])
}

#[test]
fn docker_a_java_archive_is_known_by_its_digest_or_told_to_be_unknowable() {
    let config: toml::Table = fs::read_to_string(dev_config()).unwrap().parse().unwrap();
    let whole = Path::new(config["scan"]["fixture_db"].as_str().unwrap());
    let known = trial(whole);
    assert_eq!(known["reason"], "vulnerabilities_block", "{known:#}");
    let blocking = &known["scan"]["blocking"][0];
    assert_eq!(
        (&blocking["id"], &blocking["package"]),
        (&"CVE-2021-44228".into(), &"org.apache.logging.log4j:log4j-core".into()),
        "{known:#}"
    );
    assert!(known["scan"]["java_database_updated_at"].is_string(), "{known:#}");

    let part = tempfile::tempdir().unwrap();
    for name in ["trivy.db", "metadata.json"] {
        fs::copy(whole.join(name), part.path().join(name)).unwrap();
    }
    let unknown = trial(part.path());
    assert_eq!(
        (&unknown["state"], &unknown["reason"], &unknown["blame"]),
        (&"errored".into(), &"database_missing".into(), &"platform".into()),
        "{unknown:#}"
    );
    assert!(unknown["remedy"].as_str().unwrap().contains("scan.java"), "{unknown:#}");
    assert!(unknown["walls"].is_null(), "nothing ran");
}
