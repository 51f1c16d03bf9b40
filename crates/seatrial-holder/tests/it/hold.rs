//! Hostile files in `/data`, on a real tmpfs.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use tempfile::TempDir;

use crate::bench::{feed, frames, holder};

const MIB: u64 = 1 << 20;

fn data() -> TempDir {
    let data = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o755)).unwrap();
    data
}

fn ask(root: &Path, requests: &[u8]) -> Vec<(char, Vec<u8>)> {
    let ran = feed(holder().arg("hold").arg(root), requests);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let mut answers = frames(&ran.stdout);
    assert_eq!(answers.remove(0), ('H', b"ready".to_vec()));
    answers
}

fn read(root: &Path, name: &str) -> (char, String) {
    let answers = ask(root, format!("R {MIB} {name}\n").as_bytes());
    let [(tag, bytes)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    (*tag, String::from_utf8_lossy(bytes).into_owned())
}

fn not_a_file(clause: &str) -> (char, String) {
    ('N', clause.to_owned())
}

#[test]
fn a_plain_file_is_read() {
    let data = data();
    fs::create_dir_all(data.path().join("a/b")).unwrap();
    fs::write(data.path().join("a/b/perf.json"), "{}\0\x1b[31m").unwrap();
    fs::write(data.path().join("empty"), "").unwrap();
    assert_eq!(read(data.path(), "a/b/perf.json"), ('B', "{}\0\x1b[31m".to_owned()));
    assert_eq!(read(data.path(), "empty"), ('B', String::new()));
}

#[test]
fn a_holder_takes_the_longest_life_and_the_largest_read_that_the_engine_asks_for() {
    let data = data();
    let mut hold = holder();
    hold.args(["hold", "--deadline-s", "345600"]).arg(data.path());
    let ran = feed(&mut hold, b"R 67108864 none\nQ\n");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn nothing_is_missing() {
    let data = data();
    fs::write(data.path().join("file"), "").unwrap();
    let nothing = ('M', "nothing has this name".to_owned());
    assert_eq!(read(data.path(), "perf.json"), nothing);
    assert_eq!(read(data.path(), "file/perf.json"), nothing);
    assert_eq!(read(data.path(), "no/perf.json"), nothing);
}

#[test]
fn a_link_is_never_followed() {
    let data = data();
    fs::write(data.path().join("real"), "{}").unwrap();
    for (name, target) in [
        ("absolute", "/etc/passwd"),
        ("relative", "real"),
        ("proc", "/proc/self/environ"),
        ("dangling", "nothing"),
        ("loop", "loop"),
    ] {
        symlink(target, data.path().join(name)).unwrap();
        assert_eq!(read(data.path(), name), not_a_file("a symbolic link"), "{name}");
    }
    symlink("/etc", data.path().join("parent")).unwrap();
    let behind = read(data.path(), "parent/passwd");
    assert_eq!(behind, not_a_file("behind a symbolic link"));
}

#[test]
fn what_is_no_file_is_named_and_not_opened() {
    let data = data();
    let fifo = data.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let _listener = UnixListener::bind(data.path().join("socket")).unwrap();
    fs::create_dir(data.path().join("directory")).unwrap();
    assert_eq!(read(data.path(), "fifo"), not_a_file("a fifo"));
    assert_eq!(read(data.path(), "socket"), not_a_file("a socket"));
    assert_eq!(read(data.path(), "directory"), not_a_file("a directory"));
    assert_eq!(read(Path::new("/dev"), "zero"), not_a_file("a character device"));
}

#[test]
fn a_mount_below_the_root_is_not_entered() {
    let mounted = read(Path::new("/"), "proc/version");
    assert_eq!(mounted, not_a_file("on another file system"));
}

#[test]
fn a_hard_link_is_refused() {
    let data = data();
    fs::write(data.path().join("one"), "x").unwrap();
    fs::hard_link(data.path().join("one"), data.path().join("two")).unwrap();
    assert_eq!(read(data.path(), "two"), not_a_file("a file with 2 links"));
}

#[test]
fn the_bound_is_exact() {
    let data = data();
    let make = |name: &str, size: u64| {
        File::create(data.path().join(name)).unwrap().set_len(size).unwrap();
    };
    make("limit", MIB);
    make("above", MIB + 1);
    make("sparse", 10 << 30);
    let (tag, bytes) = read(data.path(), "limit");
    assert_eq!((tag, bytes.len() as u64), ('B', MIB));
    assert_eq!(read(data.path(), "above"), ('T', (MIB + 1).to_string()));
    assert_eq!(read(data.path(), "sparse"), ('T', (10_u64 << 30).to_string()));
}

#[test]
fn what_may_not_be_opened_is_missing_and_says_so() {
    let data = data();
    let file = data.path().join("perf.json");
    fs::write(&file, "{}").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = holder();
    if rustix::process::getuid().is_root() {
        command.uid(65532).gid(65532);
    }
    let ran = feed(command.arg("hold").arg(data.path()), b"R 100 perf.json\nQ\n");
    assert_eq!(frames(&ran.stdout)[1], ('M', b"it may not be opened".to_vec()));
}

#[test]
fn a_name_that_climbs_is_an_error_of_ours() {
    let data = data();
    let bad = ["..", ".", "/etc/passwd", "../x", "a/../b", "a//b", "", "a/"];
    for name in bad {
        assert_eq!(read(data.path(), name).0, 'E', "{name:?}");
    }
}

#[test]
fn a_growing_file_is_never_read_past_its_bound() {
    let data = data();
    let path = data.path().join("perf.json");
    let stop = AtomicBool::new(false);
    let mut tags = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut file = File::create(&path).unwrap();
                for _ in 0..64 {
                    file.write_all(&[b'x'; 4096]).unwrap();
                }
            }
        });
        let requests = "R 131072 perf.json\n".repeat(2000);
        for (tag, bytes) in ask(data.path(), requests.as_bytes()) {
            assert!(bytes.len() <= 131_072);
            tags.push(tag);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(tags.chars().all(|tag| "BMNT".contains(tag)), "{tags}");
}

#[test]
fn odd_names_are_listed_raw() {
    let data = data();
    let odd: [&[u8]; 3] = [b"\x1b[31mx", b"\xff\xfe", b"a\nb"];
    for name in odd {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.path().join(std::ffi::OsStr::from_bytes(name)))
            .unwrap();
    }
    let answers = ask(data.path(), b"L 10\nL 2\nQ\nL 5\n");
    let [('L', all), ('L', two)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let first_line = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
        (text, bytes[end + 1..].to_vec())
    };
    let (numbers, names) = first_line(all);
    let numbers: Vec<u64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 4);
    assert_eq!(numbers[3], 0);
    assert_eq!(names, b"6\n\x1b[31mx3\na\nb2\n\xff\xfe");
    assert!(first_line(two).0.ends_with(" 1"));
}

#[test]
fn a_broken_request_ends_the_role() {
    let data = data();
    let long = "R 1 ".to_owned() + &"x".repeat(5000);
    for bad in [
        "X\n",
        "R\n",
        "R 1\n",
        "R 067 a\n",
        "R 99999999999 a\n",
        "Q Q\n",
        "R 1 a",
        &long,
    ] {
        let ran = feed(holder().arg("hold").arg(data.path()), bad.as_bytes());
        assert_eq!(ran.code, 96, "{bad:?}");
        assert!(ran.stderr.starts_with("holder: "), "{}", ran.stderr);
    }
}

#[test]
fn the_deadline_ends_it_though_its_input_is_open() {
    let data = data();
    let mut child = holder()
        .args(["hold", "--deadline-s", "1"])
        .arg(data.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let input = child.stdin.take(); // waiting would close it
    assert_eq!(child.wait().unwrap().code(), Some(124));
    drop(input);
}
