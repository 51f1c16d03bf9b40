use std::io::Read as _;

use tar::{Archive, Builder, EntryType, Header};

use super::*;

const MAX: u64 = 1 << 20;

/// Writes an entry with a name as it stands, whatever is in it.
fn raw(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], link: &[u8], bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_mtime(77);
    header.set_size(bytes.len() as u64);
    let fields = header.as_gnu_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

fn archive(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, link, bytes) in entries {
        raw(&mut tar, *kind, name.as_bytes(), link.as_bytes(), bytes);
    }
    tar.into_inner().unwrap()
}

fn listed(tar: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(tar);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 0));
        let mode = header.mode().unwrap();
        let mut text = String::new();
        let name = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap().map(|to| format!(" -> {}", to.display()));
        entry.read_to_string(&mut text).unwrap();
        names.push(format!("{mode:o} {name}{}{text}", link.unwrap_or_default() + " "));
    }
    names
}

fn refusal(entries: &[(EntryType, &str, &str, &[u8])]) -> String {
    rewrite(&archive(entries), MAX).unwrap_err().to_string()
}

use EntryType as E;

#[test]
fn what_is_kept_is_sorted_owned_by_root_and_has_its_folders() {
    let tar = archive(&[
        (E::Directory, "./", "", b""),
        (E::Regular, "./b/c/file", "", b"x"),
        (E::Symlink, "link", "/etc/passwd", b""),
        (E::Regular, "a", "", b"y"),
    ]);
    let rewritten = rewrite(&tar, MAX).unwrap();
    assert_eq!(
        listed(&rewritten),
        [
            "755 a y",
            "755 b ",
            "755 b/c ",
            "755 b/c/file x",
            "777 link -> /etc/passwd "
        ]
    );
    assert_eq!(
        rewrite(&rewritten, MAX).unwrap(),
        rewritten,
        "what we wrote is what we would write"
    );
}

#[test]
fn long_names_survive() {
    let name = format!("{}/file", "d".repeat(200));
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, &name, &b"z"[..]).unwrap();
    let rewritten = rewrite(&tar.into_inner().unwrap(), MAX).unwrap();
    assert!(listed(&rewritten)[1].contains(&name));
}

#[test]
fn paths_that_lead_out_are_refused_by_name() {
    for name in ["../x", "a/../../x", "/etc/passwd", "a/.."] {
        let said = refusal(&[(E::Regular, name, "", b"")]);
        assert!(said.contains(name) && said.contains("refused"), "{said}");
    }
}

#[test]
fn links_of_files_devices_pipes_and_unknown_kinds_are_refused() {
    for kind in [
        E::Link,
        E::Char,
        E::Block,
        E::Fifo,
        E::Continuous,
        E::GNUSparse,
        E::new(b'Z'),
    ] {
        let tar = archive(&[(kind, "odd", "a", b"")]);
        assert!(rewrite(&tar, MAX).is_err(), "{kind:?}");
    }
}

#[test]
fn nothing_is_written_through_a_link_or_a_file() {
    for kind in [E::Symlink, E::Regular] {
        for order in [[0, 1], [1, 0]] {
            let entries = [(kind, "a", "/etc", &b""[..]), (E::Regular, "a/passwd", "", &b""[..])];
            let said = refusal(&order.map(|at| entries[at]));
            assert!(said.contains("a/passwd"), "{said}");
        }
    }
    let deep = refusal(&[(E::Symlink, "a", "/etc", b""), (E::Regular, "a/b/c", "", b"")]);
    assert!(deep.contains("a/b/c"), "{deep}");
}

#[test]
fn an_entry_stands_once() {
    let twice = refusal(&[(E::Regular, "a", "", b"1"), (E::Regular, "./a", "", b"2")]);
    assert!(twice.contains("stands twice"), "{twice}");
    assert!(
        rewrite(
            &archive(&[(E::Directory, "a", "", b""), (E::Directory, "a/", "", b"")]),
            MAX
        )
        .is_ok()
    );
}

#[test]
fn what_is_no_tar_is_refused_without_a_panic() {
    assert!(matches!(rewrite(b"\x1f\x8b\x08xyz", MAX), Err(BadContext::Compressed)));
    assert!(rewrite(&[b'x'; 2000], MAX).is_err());
    let mut cut = archive(&[(E::Regular, "a", "", &[b'x'; 5000])]);
    cut.truncate(2000);
    assert!(rewrite(&cut, MAX).is_err());
}

#[test]
fn a_file_that_promises_more_than_is_there_is_refused() {
    let mut tar = archive(&[(E::Regular, "a", "", b"x")]);
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&tar[..512]);
    header.set_size(u64::MAX / 2);
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    assert!(rewrite(&tar, MAX).is_err());
}

#[test]
fn folders_that_are_only_implied_count() {
    let tar = archive(&[(E::Regular, "a/b/c/d/e", "", b"")]);
    assert!(matches!(rewrite(&tar, 2048), Err(BadContext::TooLarge(2048))));
}

#[test]
fn hostile_names_are_made_visible() {
    let said = refusal(&[(E::Fifo, "a\u{1b}[31m", "", b"")]);
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_few_entries_cannot_imply_folders_without_end() {
    let deep = "a/".repeat(200) + "f";
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    tar.append_data(&mut header, &deep, std::io::empty()).unwrap();
    let why = rewrite(&tar.into_inner().unwrap(), MAX).unwrap_err().to_string();
    assert!(why.contains("more than 128 parts"), "{why}");
    // Long names, each in folders of its own: some 3 MiB of archive would be 250 MiB of paths.
    let mut tar = Builder::new(Vec::new());
    for number in 0..800 {
        let path = format!("{}f", format!("{number:029}/").repeat(127));
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        tar.append_data(&mut header, &path, std::io::empty()).unwrap();
    }
    let end = rewrite(&tar.into_inner().unwrap(), u64::MAX);
    assert!(
        matches!(end, Err(BadContext::TooMany)),
        "{:?}",
        end.map(|tar| tar.len())
    );
}
