use axum::http::StatusCode;
use seatrial_core::vault::BlobKind;
use seatrial_pipeline::service::read;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::support::{Answer, DOCKERFILE, House};

/// A part: name, file name, content.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

async fn post(house: &House, parts: &[Part<'_>]) -> Answer {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend(format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--b0undary--\r\n");
    house
        .post_bytes("/v1/jobs", "multipart/form-data; boundary=b0undary", &[], body)
        .await
}

fn tar_of(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, bytes) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

const FILE: &[u8] = DOCKERFILE.as_bytes();

#[tokio::test]
async fn a_form_brings_context_inputs_and_options() {
    let house = House::new();
    let tar = tar_of(&[(EntryType::Regular, "./src/a", b"x")]);
    let options = json!({"labels": {"a": "b"}, "result": "/data/out.json", "artifacts": true}).to_string();
    let answer = post(
        &house,
        &[
            ("options", None, options.as_bytes()),
            ("dockerfile", Some("Dockerfile"), FILE),
            ("context", Some("context.tar"), &tar),
            ("inputs", Some("a.csv"), b"1,2"),
            ("inputs", Some("b.bin"), b"\r\n--b0undar"),
        ],
    )
    .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    assert_eq!(answer.json()["labels"], json!({"a": "b"}));
    let record = house.record(answer.header("location")).await;
    let packed = read::blob(&house.service, &record, BlobKind::Submission).await.unwrap();
    let packed = String::from_utf8(packed).unwrap();
    assert!(
        packed.contains("a.csv") && packed.ends_with("1,2\r\n--b0undar"),
        "{packed}"
    );
    let context = read::blob(&house.service, &record, BlobKind::Context).await.unwrap();
    let mut context = tar::Archive::new(&context[..]);
    let names: Vec<String> = context
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["src", "src/a"], "it was written anew");
}

#[tokio::test]
async fn a_hostile_context_is_refused_by_the_name_of_its_entry() {
    let house = House::new();
    for (kind, name) in [
        (EntryType::Regular, "../escape"),
        (EntryType::Link, "hard"),
        (EntryType::Char, "device"),
        (EntryType::Regular, "/abs"),
    ] {
        let tar = tar_of(&[(kind, name, b"")]);
        let answer = post(&house, &[("dockerfile", None, FILE), ("context", None, &tar)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (422, "invalid_submission"),
            "{name}"
        );
        let error = &answer.json()["errors"][0];
        assert_eq!(error["pointer"], "/context");
        assert!(error["detail"].as_str().unwrap().contains(name), "{error}");
    }
    assert!(house.bytes.everything().is_empty());
}

#[tokio::test]
async fn a_form_that_is_not_right_is_pointed_at() {
    let house = House::new();
    let cases: &[(&[Part<'_>], &str, u16)] = &[
        (&[("options", None, b"{}")], "/dockerfile", 422),
        (
            &[("dockerfile", None, FILE), ("dockerfile", None, FILE)],
            "/dockerfile",
            422,
        ),
        (&[("dockerfile", None, FILE), ("extra", None, b"")], "/extra", 422),
        (&[("dockerfile", None, FILE), ("inputs", None, b"")], "/inputs/", 422),
        (
            &[("dockerfile", None, FILE), ("inputs", Some("../x"), b"")],
            "/inputs/..~1x",
            422,
        ),
        (
            &[
                ("dockerfile", None, FILE),
                ("inputs", Some("a"), b""),
                ("inputs", Some("a"), b""),
            ],
            "/inputs/a",
            422,
        ),
        (
            &[
                ("dockerfile", None, FILE),
                ("options", None, b"{\"dockerfile\": \"x\"}"),
            ],
            "/options/dockerfile",
            422,
        ),
        (
            &[("dockerfile", None, FILE), ("options", None, b"{\"priority\": 7}")],
            "/options/priority",
            422,
        ),
        (&[("dockerfile", None, FILE), ("options", None, b"{")], "/options", 400),
        (&[("dockerfile", None, &[b'#'; (256 << 10) + 1])], "/dockerfile", 413),
    ];
    for (parts, pointer, status) in cases {
        let answer = post(&house, parts).await;
        answer.problem();
        assert_eq!(answer.status.as_u16(), *status, "{}", answer.text());
        assert_eq!(answer.json()["errors"][0]["pointer"], *pointer);
    }
}

#[tokio::test]
async fn inputs_have_one_bound_together() {
    let house = House::with(Default::default(), |settings, _| {
        settings.policy.limits.inputs = bytesize::ByteSize::b(10)
    });
    let fits = post(
        &house,
        &[
            ("dockerfile", None, FILE),
            ("inputs", Some("a"), b"12345"),
            ("inputs", Some("b"), b"12345"),
        ],
    )
    .await;
    assert_eq!(fits.status, StatusCode::ACCEPTED);
    let over = post(
        &house,
        &[
            ("dockerfile", None, FILE),
            ("inputs", Some("a"), b"12345"),
            ("inputs", Some("b"), b"123456"),
        ],
    )
    .await;
    assert_eq!(
        (over.status.as_u16(), &over.json()["errors"][0]["pointer"]),
        (413, &json!("/inputs/b"))
    );
}

#[tokio::test]
async fn a_broken_form_is_malformed() {
    let house = House::new();
    for (kind, body) in [
        ("multipart/form-data", &b"x"[..]),
        ("multipart/form-data; boundary=b", b"x"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=\"dockerfile\"\r\n\r\nFROM",
        ),
        ("multipart/form-data; boundary=b", b""),
    ] {
        let answer = house.post_bytes("/v1/jobs", kind, &[], body.to_vec()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "malformed"),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn the_same_form_with_the_same_key_is_the_same_job() {
    let house = House::new();
    let tar = tar_of(&[(EntryType::Regular, "a", b"x")]);
    let body = [("dockerfile", None, FILE), ("context", None, &tar[..])];
    let first = post(&house, &body).await.json();
    let second = post(&house, &body).await.json();
    assert_ne!(first["id"], second["id"], "without a key each is its own");
}
