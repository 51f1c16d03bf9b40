#![allow(clippy::print_stderr, reason = "a test says what it could not check")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Barrier,
};

use super::*;

fn error_of<T>(result: Result<T, RingError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn an_embedded_ring_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let first = KeyRing::open_or_create(&path).unwrap();
    let second = KeyRing::open_or_create(&path).unwrap();
    assert_eq!(first.ids(), second.ids());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn rings_that_are_opened_at_once_are_one_ring() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let start = Barrier::new(8);
        let ids: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                KeyRing::open_or_create(&path).unwrap().ids()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_configured_ring_is_never_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    assert!(error_of(KeyRing::load(&path)).starts_with("cannot open the key ring"));
    assert!(!path.exists());
}

#[test]
fn a_ring_that_others_could_have_read_or_put_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    KeyRing::open_or_create(&path).unwrap();

    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(error_of(KeyRing::load(&link)).ends_with("is a link: name the file itself"));
    assert!(error_of(KeyRing::open_or_create(&link)).ends_with("is a link: name the file itself"));
    let dangling = folder.path().join("dangling");
    symlink(folder.path().join("nothing"), &dangling).unwrap();
    assert!(error_of(KeyRing::open_or_create(&dangling)).ends_with("is a link: name the file itself"));
    assert!(error_of(KeyRing::load(folder.path())).ends_with("is not a file"));

    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(error_of(KeyRing::load(&path)).contains("is open to others"), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
        assert!(error_of(KeyRing::load(&path)).ends_with("belongs to user 4711, and this is user 0"));
    } else {
        eprintln!("NOT CHECKED: a ring of another owner, because only root can make one");
    }
}

#[test]
fn a_pipe_in_place_of_the_ring_does_not_hold_us_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(error_of(KeyRing::load(&path)).ends_with("is not a file"));
}

#[test]
fn a_malformed_ring_is_refused_without_a_word_of_it() {
    let key = STANDARD.encode([1, 2].repeat(16));
    let other = STANDARD.encode([3, 4].repeat(16));
    let cases = [
        (String::new(), "the key ring holds 0 keys"),
        ("# nothing\n\n".into(), "the key ring holds 0 keys"),
        (format!("# ok\n{key}"), "line 2 of the key ring is not id:key"),
        (format!(":{key}"), "line 1 of the key ring has an id"),
        (format!("a.b:{key}"), "line 1 of the key ring has an id"),
        (format!("{}:{key}", "a".repeat(65)), "line 1 of the key ring has an id"),
        ("a:c2hvcnQ=".into(), "line 1 of the key ring has a key that is not 32"),
        (
            format!("a:{key}{key}"),
            "line 1 of the key ring has a key that is not 32",
        ),
        (
            format!("a:{}", STANDARD.encode([0; 33])),
            "line 1 of the key ring has a key that is not 32",
        ),
        (
            format!("a:{}", STANDARD.encode([0; 32])),
            "line 1 of the key ring has a key that is no random one",
        ),
        (format!("a:{key}\na:{other}"), "line 2 of the key ring repeats"),
        (format!("a:{key}\nb:{key}"), "line 2 of the key ring repeats"),
    ];
    for (text, says) in cases {
        let error = error_of(KeyRing::from_text(&text));
        assert!(error.starts_with(says), "{text}: {error}");
        assert!(!error.contains(&key), "{error}");
    }
    assert_eq!(
        KeyRing::from_text(&format!("b:{other}\n a:{key} \n")).unwrap().ids(),
        ["b", "a"]
    );
}

#[test]
fn a_ring_shows_no_key() {
    let key = STANDARD.encode([1, 2].repeat(16));
    let ring = KeyRing::from_text(&format!("a:{key}")).unwrap();
    assert_eq!(format!("{ring:?}"), r#"KeyRing { ids: ["a"], path: None, .. }"#);
}

#[test]
fn a_rotated_ring_opens_what_was_wrapped_before_and_wraps_with_the_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let job = JobId::fresh();
    let before = KeyRing::open_or_create(&path).unwrap();
    let old_id = before.ids()[0].clone();
    let old = before.new_key(job).unwrap();

    let new_id = KeyRing::rotate(&path).unwrap();
    let after = KeyRing::load(&path).unwrap();
    assert_eq!(after.ids(), [new_id.clone(), old_id.clone()]);
    let new = after.new_key(job).unwrap();
    assert!(new.0.starts_with(&format!("{new_id}.")));
    assert_eq!(
        *after.open_key(job, &old).unwrap(),
        *before.open_key(job, &old).unwrap()
    );

    assert_eq!(before.ids(), std::slice::from_ref(&old_id));
    assert_eq!(
        *before.open_key(job, &new).unwrap(),
        *after.open_key(job, &new).unwrap()
    );
    assert_eq!(before.ids(), after.ids(), "loaded again when it met an unknown id");

    assert!(error_of(KeyRing::retire(&path, &new_id)).contains("is the current one"));
    assert!(error_of(KeyRing::retire(&path, "other")).ends_with("has no key 'other'"));
    KeyRing::retire(&path, &old_id).unwrap();
    let last = KeyRing::load(&path).unwrap();
    assert!(matches!(last.open_key(job, &old), Err(VaultError::NoSuchKey { key }) if key == old_id));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn two_changes_at_once_never_lose_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    KeyRing::open_or_create(&path).unwrap();
    let made: usize = std::thread::scope(|scope| {
        let rotate = || {
            let tries = (0..20).map(|_| KeyRing::rotate(&path));
            tries
                .filter(|end| match end {
                    Ok(_) => true,
                    Err(RingError::Busy { .. }) => false,
                    Err(other) => panic!("{other}"),
                })
                .count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(rotate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(made > 0);
    assert_eq!(KeyRing::load(&path).unwrap().ids().len(), made + 1);
}

#[test]
fn a_hostile_wrapped_key_is_refused_without_being_repeated() {
    let ring = KeyRing::generate().unwrap();
    let id = ring.ids()[0].clone();
    let job = JobId::fresh();
    for text in ["", ".", "x", "\u{1b}[31m.AAAA", &"a".repeat(10_000)] {
        let error = ring.open_key(job, &WrappedKey(text.into())).unwrap_err();
        assert!(matches!(error, VaultError::NoSuchKey { .. }), "{error}");
        assert!(error.to_string().len() < 200 && !error.to_string().contains('\u{1b}'));
    }
    let whole = ring.new_key(job).unwrap().0;
    for text in [
        format!("{id}."),
        id.clone(),
        format!("{id}.!!"),
        format!("{whole}="),
        whole[..whole.len() - 2].into(),
    ] {
        let error = ring.open_key(job, &WrappedKey(text)).unwrap_err();
        assert!(matches!(error, VaultError::WrongKey { .. }), "{error}");
    }
    let other = ring.open_key(JobId::fresh(), &WrappedKey(whole)).unwrap_err();
    assert!(
        matches!(other, VaultError::WrongKey { .. }),
        "a key serves its own job alone: {other}"
    );
}
