//! Hand-made hostile layers.

use std::io::{Seek, SeekFrom, Write};

use proptest::prelude::*;

use super::*;

/// Writes blocks without any scruple.
#[derive(Default)]
struct Maker(Vec<u8>);

impl Maker {
    fn raw(
        mut self,
        name: &[u8],
        kind: u8,
        link: &[u8],
        size: u64,
        data: &[u8],
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    fn entry(self, name: &str, kind: u8, link: &str) -> Self {
        self.raw(name.as_bytes(), kind, link.as_bytes(), 0, b"", |_| {})
    }

    fn dir(self, name: &str) -> Self {
        self.entry(name, b'5', "")
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', b"", data.len() as u64, data, |_| {})
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = format!(" {key}={value}\n");
            let mut len = body.len() + 1;
            while len != body.len() + len.to_string().len() {
                len = body.len() + len.to_string().len();
            }
            data.extend_from_slice(format!("{len}{body}").as_bytes());
        }
        self.raw(b"PaxHeaders.0/x", b'x', b"", data.len() as u64, &data, |_| {})
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn check_on(tree: &mut Tree, tar: &[u8]) -> Result<(), String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    file.write_all(tar).unwrap();
    file.write_all(b"behind").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    match tree.check_layer(&file, 6, tar.len() as u64) {
        Ok(()) => Ok(()),
        Err(Bad::Refused(why)) => Err(why),
        Err(Bad::Local(error)) => panic!("{error}"),
    }
}

fn check(maker: Maker) -> Result<(), String> {
    check_on(&mut Tree::on(std::iter::empty()), &maker.end())
}

fn make() -> Maker {
    Maker::default()
}

#[track_caller]
fn refused(maker: Maker, why: &str) {
    let refusal = check(maker).unwrap_err();
    assert!(refusal.contains(why), "{refusal}");
}

#[test]
fn an_ordinary_layer_is_taken() {
    let layer = make()
        .dir("etc/")
        .file("etc/motd", b"hello")
        .entry("etc/link", b'2', "/proc/1/root")
        .entry("etc/hard", b'1', "etc/motd")
        .entry("run/pipe", b'6', "")
        .file("etc/.wh.gone", b"")
        .file("etc/.wh..wh..opq", b"")
        .pax(&[
            ("path", "etc/\u{fc}mlaut"),
            ("mtime", "1.5"),
            ("SCHILY.xattr.security.capability", "x"),
        ])
        .file("etc/placeholder", b"x");
    assert_eq!(check(layer), Ok(()));
}

#[test]
fn an_empty_layer_is_taken() {
    assert_eq!(check(make()), Ok(()));
}

#[test]
fn absolute_paths_and_dots_are_refused() {
    refused(make().file("/etc/passwd", b""), "absolute");
    refused(make().file("../etc/passwd", b""), "leaves");
    refused(make().file("a/../../b", b""), "leaves");
    refused(make().file("a/./b", b""), "not a plain path");
    refused(make().file("a//b", b""), "not a plain path");
    refused(make().file("a/", b""), "not a plain path");
    refused(make().pax(&[("path", "../x")]).file("x", b""), "leaves");
}

#[test]
fn a_path_behind_a_link_of_the_same_layer_is_refused() {
    refused(make().entry("a", b'2', "/etc").file("a/b", b""), "not a folder");
    refused(make().file("f", b"").file("f/b", b""), "not a folder");
    refused(
        make().entry("a", b'2', "/etc").entry("b", b'1', "a").file("b/c", b""),
        "not a folder",
    );
}

#[test]
fn what_something_lies_beneath_can_only_be_a_folder() {
    refused(make().file("x/y", b"").entry("x", b'2', "/etc"), "lies beneath it");
    refused(make().file("x/y/z", b"").file("x", b""), "lies beneath it");
    refused(
        make().file("f", b"").file("x/y", b"").entry("x", b'1', "f"),
        "lies beneath it",
    );
    refused(make().file("x/y", b"").entry("z", b'1', "x"), "to a folder");
    assert_eq!(check(make().file("x/y", b"").dir("x/").file("x/z", b"")), Ok(()));
    refused(make().file("x/y", b"").dir("x/").dir("x/"), "twice");
}

#[test]
fn folders_that_are_only_named_count_as_entries() {
    let mut tree = Tree::on(std::iter::empty());
    check_on(&mut tree, &make().file("a/b/c", b"").file("a/b/d", b"").end()).unwrap();
    assert_eq!(tree.entries, 4);
}

#[test]
fn a_path_behind_a_link_of_a_layer_below_is_refused_unless_it_was_replaced() {
    let mut tree = Tree::on([&b"lib"[..]].into_iter());
    let refusal = check_on(&mut tree, &make().file("lib/x", b"").end()).unwrap_err();
    assert!(refusal.contains("behind a symbolic link"), "{refusal}");
    check_on(&mut tree, &make().dir("lib/").file("lib/x", b"").end()).unwrap();
    check_on(&mut tree, &make().file("lib/y", b"").end()).unwrap();
    check_on(&mut tree, &make().entry("lib", b'2', "/").end()).unwrap();
    check_on(&mut tree, &make().file("lib/z", b"").end()).unwrap_err();
}

#[test]
fn a_hard_link_leads_to_a_file_of_its_own_layer_only() {
    refused(make().entry("a", b'1', "../x"), "leaves");
    refused(make().entry("a", b'1', "/etc/shadow"), "absolute");
    refused(make().entry("a", b'1', "etc/shadow"), "not in its layer");
    refused(make().dir("d/").entry("a", b'1', "d"), "to a folder");
    refused(
        make().entry("l", b'2', "/etc").entry("a", b'1', "l/shadow"),
        "through a symbolic link",
    );
}

#[test]
fn devices_and_unknown_types_are_refused() {
    refused(make().entry("dev/sda", b'4', ""), "device");
    refused(make().entry("dev/cuse", b'3', ""), "device");
    for kind in [b'7', b'S', b'L', b'K', b'g', b'V', b'M', b'D'] {
        refused(make().entry("a", kind, ""), "type that is not known");
    }
}

#[test]
fn attributes_for_overlays_and_for_the_host_are_refused() {
    for name in [
        "trusted.overlay.opaque",
        "user.overlay.redirect",
        "user.fuseoverlayfs.override_stat",
        "user.containers.x",
        "security.ima",
        "security.selinux",
        "trusted.x",
    ] {
        refused(
            make().pax(&[(&format!("SCHILY.xattr.{name}"), "y")]).file("a", b""),
            "attribute",
        );
    }
}

#[test]
fn records_that_another_reader_may_understand_otherwise_are_refused() {
    refused(make().pax(&[("GNU.sparse.map", "0,1")]).file("a", b""), "PAX record");
    refused(make().pax(&[("path", "a"), ("path", "b")]).file("a", b""), "twice");
    refused(
        make().pax(&[("path", "a")]).pax(&[("path", "b")]).file("a", b""),
        "twice",
    );
    refused(make().pax(&[("size", "512")]).file("a", b""), "two different sizes");
    refused(make().pax(&[("path", "a")]), "at the end");
    refused(make().raw(b"a", b'2', b"t", 512, &[0; 512], |_| {}), "has data");
    refused(make().raw(b"a", b'5', b"", 512, &[0; 512], |_| {}), "has data");
    refused(make().raw(b"a", b'0', b"b", 0, b"", |_| {}), "has a target");
}

#[test]
fn headers_of_another_dialect_are_refused() {
    refused(
        make().raw(b"a", b'0', b"", 0, b"", |block| {
            block[257..265].copy_from_slice(b"ustar  \0")
        }),
        "ustar",
    );
    refused(make().raw(b"a", b'0', b"", 0, b"", |block| block[124] = 0x80), "octal");
    refused(
        make().raw(b"a\0b", b'0', b"", 0, b"", |_| {}),
        "after the end of a field",
    );
}

#[test]
fn a_header_of_the_star_format_is_refused() {
    // Go would read a prefix of 131 bytes here, and so another path than we do.
    refused(
        make().raw(b"a", b'0', b"", 0, b"", |block| {
            block[508..512].copy_from_slice(b"tar\0")
        }),
        "after its last field",
    );
    refused(
        make().raw(b"a", b'0', b"", 0, b"", |block| block[500] = b'x'),
        "last field",
    );
}

#[test]
fn numbers_of_devices_are_octal_or_empty() {
    for at in [329, 337] {
        refused(make().raw(b"a", b'0', b"", 0, b"", |block| block[at] = 0x80), "octal");
        let zeros = make().raw(b"a", b'0', b"", 0, b"", |block| {
            block[at..at + 8].copy_from_slice(b"0000000\0")
        });
        assert_eq!(check(zeros), Ok(()));
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut tar = make().file("a", b"").end();
    tar[0] = b'b';
    let refusal = check_on(&mut Tree::on(std::iter::empty()), &tar).unwrap_err();
    assert!(refusal.contains("checksum"), "{refusal}");
}

#[test]
fn a_file_that_is_there_twice_is_refused() {
    refused(make().file("a", b"clean").file("a", b"other"), "twice");
    refused(make().dir("a/").entry("a", b'2', "/"), "twice");
}

#[test]
fn marks_of_removal_that_mean_another_folder_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..", ".wh..wh.plnk", ".wh..wh.aufs"] {
        refused(make().file(name, b""), "mark of a removed file");
    }
    refused(make().dir(".wh.a/"), "mark of a removed file");
    refused(make().file(".wh..wh.plnk/x", b""), "in a mark of a removed file");
    refused(make().file("a/.wh.b/c/d", b""), "in a mark of a removed file");
    refused(make().file(".wh.a", b"data"), "mark of a removed file");
}

#[test]
fn our_own_folder_is_refused() {
    refused(make().dir(".seatrial/"), "ours");
    refused(make().entry(".seatrial", b'2', "/"), "ours");
}

#[test]
fn long_and_deep_names_are_refused() {
    let long = "x".repeat(256);
    refused(make().pax(&[("path", &long)]).file("a", b""), "too long");
    refused(make().pax(&[("path", &"a/".repeat(300))]).dir("a/"), "too deep");
    refused(
        make()
            .pax(&[("path", &format!("{}z", "yy/".repeat(2000)))])
            .file("a", b""),
        "too long",
    );
}

#[test]
fn a_layer_that_ends_early_or_goes_on_is_refused() {
    let whole = make().file("a", b"hello").end();
    for cut in [1, 511, 512, 600, 1024, 1500] {
        let refusal = check_on(&mut Tree::on(std::iter::empty()), &whole[..cut]).unwrap_err();
        assert!(refusal.contains("middle"), "{cut}: {refusal}");
    }
    let mut more = whole.clone();
    more.extend_from_slice(&make().file("b", b"").end());
    let refusal = check_on(&mut Tree::on(std::iter::empty()), &more).unwrap_err();
    assert!(refusal.contains("goes on"), "{refusal}");
    refused(make().raw(b"a", b'0', b"", 0o77_777_777_777, b"", |_| {}), "middle");
}

#[test]
fn folders_that_are_links_are_known_for_mount_points() {
    let mut tree = Tree::on([&b"var/run"[..]].into_iter());
    check_on(
        &mut tree,
        &make().entry("data", b'2', "/usr").file("file", b"").dir("plain/").end(),
    )
    .unwrap();
    for path in ["/data", "/data/x", "/var/run/db", "/file"] {
        assert!(tree.is_no_plain_folder(path), "{path}");
    }
    for path in ["/plain", "/var", "/else"] {
        assert!(!tree.is_no_plain_folder(path), "{path}");
    }
}

proptest! {
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = check_on(&mut Tree::on(std::iter::empty()), &noise);
    }

    #[test]
    fn a_damaged_layer_never_panics(at in 0_usize..4096, byte in any::<u8>()) {
        let mut tar = make().dir("etc/").pax(&[("path", "etc/x"), ("mtime", "1")]).file("a", b"hello").entry("l", b'2', "x").end();
        let at = at % tar.len();
        tar[at] = byte;
        let _ = check_on(&mut Tree::on(std::iter::empty()), &tar);
    }
}
