//! The builder and the filler, with a script in buildah's place.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use tempfile::TempDir;

use crate::bench::{NONCE, Ran, feed, feed_and_stay, feed_when, holder_as_init};

const LAYER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const BLOB: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct Builder {
    root: TempDir,
}

impl Builder {
    /// `script` runs in buildah's place, once it has read the Dockerfile; `$OUT` is the layout.
    fn new(script: &str) -> Self {
        Self::early(&format!("DOCKERFILE=$(cat $PIPE)\n{script}"))
    }

    /// `script` runs in buildah's place from the start; the Dockerfile comes through `$PIPE`.
    fn early(script: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["run", "out", "var/lib/containers", "base/0", "base/1"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let out = root.path().join("out/oci");
        let text = format!(
            "#!/bin/sh\nOUT={}\nPIPE={}\n{script}\n",
            out.display(),
            root.path().join("run/seatrial/Dockerfile").display(),
        );
        let program = root.path().join("buildah");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn build(&self, options: &[&str], input: &[u8]) -> Ran {
        let mut command: Command = holder_as_init();
        command.args(["build", "--under"]).arg(self.root.path());
        command.arg("--buildah").arg(self.path("buildah")).args(options);
        let input = [NONCE.as_bytes(), b"\n", input].concat();
        if input.ends_with(b"G\n") {
            feed_and_stay(&mut command, &input)
        } else {
            feed(&mut command, &input)
        }
    }
}

const OPTIONS: [&str; 4] = ["--deadline-s", "60", "--max-out", "100"];

fn plain() -> Vec<u8> {
    format!("D 4\nFROMB {LAYER}\nG\n").into_bytes()
}

#[test]
fn a_build_is_told_everything_and_sends_its_layout() {
    let builder = Builder::new(
        &format!(
            "echo $@ >&2; env | sort >&2; cat $CONTAINERS_STORAGE_CONF >&2; cat $OUT/blobs/sha256/{LAYER} >&2
         cat {{ctx}}/hello >&2; printf '[]' >$OUT/index.json; printf blob >$OUT/blobs/sha256/{BLOB}"
        )
        .replace("{ctx}", "$(dirname $(dirname $OUT))/ctx"),
    );
    let context = builder.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("hello"), "from the context").unwrap();
    let tar = Command::new("tar")
        .arg("c")
        .arg("-C")
        .arg(&context)
        .arg(".")
        .output()
        .unwrap()
        .stdout;
    let mut input = format!("D 4\nFROMC {}\n", tar.len()).into_bytes();
    input.extend(&tar);
    input.extend(format!("B {LAYER}\nG\n").bytes());
    let ran = builder.build(
        &["--deadline-s", "60", "--max-out", "100", "--", "--format", "oci"],
        &input,
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let root = builder.root.path().display().to_string();
    let told = ran.stderr.replace(&root, "");
    let line = "bud --pull-never --isolation chroot --network host --security-opt \
                seccomp=/.seatrial/build-step.json --format oci -f /run/seatrial/Dockerfile -t oci:/out/oci:1 /ctx\n";
    assert!(told.starts_with(line), "{told}");
    assert!(told.contains("TMPDIR=/var/lib/containers/tmp\n"));
    assert!(told.contains("additionalimagestores = [\"/base/0\", \"/base/1\"]"));
    assert!(told.contains("placeholder") && told.contains("from the context"));
    let layout = r#"F 30 oci-layout
{"imageLayoutVersion":"1.0.0"}F 2 index.json
[]F 4 blobs/sha256/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
blob.
"#;
    let layout = layout
        .replace("F 30", "F 31")
        .replace("F 31", &format!("F {}", br#"{"imageLayoutVersion":"1.0.0"}"#.len()));
    assert_eq!(ran.stdout_text(), layout);
    assert_eq!((ran.report("code"), ran.report("out_files")), ("0".into(), "3".into()));
    let number = |key: &str| ran.report(key).parse::<u64>().unwrap();
    assert!(number("store_free") > 0);
    assert!(number("out_low") <= number("out_free"));
}

#[test]
fn buildah_stands_before_its_dockerfile_when_a_job_comes() {
    let builder = Builder::early("echo there >${0%/*}/there; cat $PIPE >&2; printf '[]' >$OUT/index.json");
    let there = builder.path("there");
    rustix::fs::mkfifoat(rustix::fs::CWD, &there, rustix::fs::Mode::RWXU).unwrap();
    let mut command = holder_as_init();
    command
        .args(["build", "--idle-s", "60", "--under"])
        .arg(builder.root.path());
    command.arg("--buildah").arg(builder.path("buildah")).args(OPTIONS);
    let input = [NONCE.as_bytes(), b"\n", &plain()].concat();
    let ran = feed_when(&mut command, &input, move || {
        assert_eq!(fs::read_to_string(there).unwrap(), "there\n");
    });
    assert_eq!((ran.code, ran.report("code")), (0, "0".into()), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("FROM"), "{}", ran.stderr);
    assert!(ran.stdout.ends_with(b"[].\n"));
}

#[test]
fn a_buildah_that_fails_before_it_reads_its_dockerfile_is_told() {
    let ran = Builder::early("echo no store >&2; exit 125").build(&OPTIONS, &plain());
    assert_eq!((ran.code, ran.stdout.len(), ran.report("code")), (0, 0, "125".into()));
    assert!(ran.stderr.starts_with("no store\n"), "{}", ran.stderr);
}

#[test]
fn a_failed_build_sends_a_report_only() {
    let builder = Builder::new("echo step failed; printf '[]' >$OUT/index.json; exit 3");
    let ran = builder.build(&OPTIONS, &plain());
    assert_eq!((ran.code, ran.stdout.len()), (0, 0));
    assert!(ran.stderr.starts_with("step failed\n"));
    assert_eq!(ran.report("code"), "3");
}

#[test]
fn links_and_strangers_in_the_output_are_not_sent() {
    let builder = Builder::new(&format!(
        "cd $OUT; rm oci-layout; ln -s /etc/passwd oci-layout; mkfifo index.json
         cd blobs/sha256; echo x >odd; ln -s /etc/passwd {BLOB}; mkdir {}; echo y >{}; ln {} {}",
        BLOB.replace('b', "c"),
        BLOB.replace('b', "d"),
        BLOB.replace('b', "d"),
        BLOB.replace('b', "e"),
    ));
    let ran = builder.build(&OPTIONS, &plain());
    assert_eq!((ran.code, ran.stdout_text().as_str()), (0, ".\n"));
    assert_eq!(ran.report("out_skipped"), "7");
}

#[test]
fn an_output_behind_a_link_is_not_read() {
    let builder = Builder::new("cd $OUT; rm -r blobs; ln -s /tmp blobs");
    let ran = builder.build(&OPTIONS, b"D 4\nFROMG\n");
    // A step did that: no fault of the builder, and no image. Of the three the index was never written.
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stdout_text().contains("blobs"), "{}", ran.stdout_text());
    assert_eq!(ran.report("out_skipped"), "2");
}

#[test]
fn an_output_beyond_its_bound_is_not_sent() {
    let builder = Builder::new(&format!("head -c 200 /dev/zero >$OUT/blobs/sha256/{BLOB}"));
    let ran = builder.build(&OPTIONS, &plain());
    assert_eq!((ran.code, ran.stdout.len()), (0, 0));
    assert_eq!(ran.report("out_too_large"), "1");
}

#[test]
fn what_a_step_leaves_running_is_dead_before_the_output_is_read() {
    let builder =
        Builder::new("printf '[]' >$OUT/index.json; (setsid sh -c 'while :; do echo more >>$OUT/index.json; done' &)");
    let ran = builder.build(&["--deadline-s", "60", "--max-out", "99999999"], &plain());
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.ends_with(b".\n"));
    assert!(ran.report("killed").parse::<u64>().unwrap() >= 1);
}

#[test]
fn a_build_that_hangs_is_ended_and_sends_nothing() {
    let builder = Builder::new("echo begun; printf '[]' >$OUT/index.json; sleep 1000");
    let ran = builder.build(&["--deadline-s", "1", "--max-out", "100"], &plain());
    assert_eq!((ran.code, ran.stdout.len()), (124, 0));
    assert_eq!(ran.report("deadline"), "1");
}

#[test]
fn a_build_for_nobody_is_ended_and_sends_nothing() {
    let builder = Builder::new("echo begun; printf '[]' >$OUT/index.json; sleep 1000");
    let mut command = holder_as_init();
    command.args(["build", "--under"]).arg(builder.root.path());
    command.arg("--buildah").arg(builder.path("buildah")).args(OPTIONS);
    let ran = feed(&mut command, &[NONCE.as_bytes(), b"\n", &plain()].concat());
    assert_eq!((ran.code, ran.stdout.len()), (124, 0));
    assert_eq!(
        (ran.report("deadline"), ran.report("orphaned")),
        ("1".into(), "1".into())
    );
}

#[test]
fn a_build_that_kills_everything_leaves_a_report() {
    let builder = Builder::new("kill -9 -1");
    let ran = builder.build(&OPTIONS, &plain());
    assert_eq!((ran.code, ran.report("deadline").as_str()), (0, "0"));
}

#[test]
fn a_build_with_a_tunnel_sends_frames_and_then_its_layout() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let builder = Builder::new("env | grep -i proxy | sort >&2; printf '[]' >$OUT/index.json");
    let options = ["--deadline-s", "60", "--max-out", "100", "--egress", &port];
    let ran = builder.build(&options, &plain());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with(b"E\0\0\0\0\0\0\0\0F 30 oci-layout\n"),
        "{}",
        ran.stdout_text()
    );
    assert!(ran.stdout.ends_with(b"\n[].\n"), "{}", ran.stdout_text());
    let proxy = format!("http://127.0.0.1:{port}");
    for line in [
        format!("http_proxy={proxy}\n"),
        format!("HTTPS_PROXY={proxy}\n"),
        "no_proxy=localhost,".to_owned(),
    ] {
        assert!(ran.stderr.contains(&line), "{}", ran.stderr);
    }
    let failed = Builder::new("exit 3").build(&options, &plain());
    assert_eq!(
        (failed.stdout.as_slice(), failed.report("code")),
        (&b"E\0\0\0\0\0\0\0\0"[..], "3".into())
    );
    assert!(
        !Builder::new("env >&2")
            .build(&OPTIONS, &plain())
            .stderr
            .contains("proxy")
    );
}

#[test]
fn an_incomplete_order_is_refused() {
    let builder = Builder::new("exit 0");
    for bad in [
        &b"G\n"[..],
        b"D 4\nFROMI 2\n{}G\n",
        b"D 4\nFROMD 4\nFROM",
        b"B ABC\n",
        b"D 99999999\n",
        b"Z\n",
        b"D 4\nFR",
    ] {
        let builder = Builder::new("exit 0");
        let ran = builder.build(&OPTIONS, bad);
        assert_eq!(ran.code, 96, "{}", bad.escape_ascii());
        assert!(!ran.has_report());
    }
    assert_eq!(builder.build(&["--deadline-s", "9"], b"").code, 2);
}

fn fill(script: &str, input: &[u8]) -> (Ran, Vec<String>) {
    let builder = Builder::new(script);
    let store = builder.path("base/0");
    let mut command = holder_as_init();
    command.args(["fill", "--deadline-s", "60", "--store"]).arg(&store);
    command.arg("--own").arg(builder.path("run"));
    command.arg("--buildah").arg(builder.path("buildah"));
    let ran = feed(&mut command, &[NONCE.as_bytes(), b"\n", input].concat());
    (ran, names(&store))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_store_is_filled_from_an_archive() {
    let script = format!("echo $@ >&2; cat ${{9#docker-archive:}} >&2; touch $2/overlay; echo {BLOB}");
    let (ran, left) = fill(&script, b"T 7\narchive");
    assert_eq!((ran.code, ran.stdout_text()), (0, format!("{BLOB}\n")));
    assert!(
        ran.stderr
            .contains("--storage-driver overlay pull --quiet docker-archive:")
    );
    assert!(ran.stderr.contains("\narchive\n"));
    assert_eq!(ran.report("code"), "0");
    assert_eq!(left, ["overlay"]);
}

#[test]
fn a_fill_that_fails_prints_no_id() {
    let (ran, left) = fill("echo no >&2; exit 125", b"T 7\narchive");
    assert_eq!((ran.code, ran.stdout.len(), ran.report("code").as_str()), (0, 0, "125"));
    assert!(left.is_empty());
    assert_eq!(fill("echo not an id", b"T 7\narchive").0.code, 97);
    assert_eq!(fill("exit 0", b"T 9\narchive").0.code, 96);
}
