//! What the mirror has to install: a package for apt, a wheel for pip, both with one file in them.

/// A Debian package with one file, as `dpkg-deb` would make it without compression.
pub(super) fn deb() -> Vec<u8> {
    let tar = |name: &str, text: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        tar.into_inner().unwrap()
    };
    let control = tar(
        "./control",
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a file\n",
    );
    let data = tar("./opt-tiny", "from the mirror\n");
    let mut ar = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", control),
        ("data.tar", data),
    ] {
        ar.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                content.len()
            )
            .bytes(),
        );
        ar.extend(&content);
        if content.len() % 2 == 1 {
            ar.push(b'\n');
        }
    }
    ar
}

/// A wheel with one module, `tiny`, in a zip archive without compression.
pub(super) fn wheel() -> Vec<u8> {
    let metadata = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n";
    let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let record = "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n";
    let (mut zip, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (name, content) in [
        ("tiny.py", "WHERE = 'from the mirror'\n"),
        ("tiny-1.0.dist-info/METADATA", metadata),
        ("tiny-1.0.dist-info/WHEEL", wheel),
        ("tiny-1.0.dist-info/RECORD", record),
    ] {
        let size = u32::try_from(content.len()).unwrap().to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let start = u32::try_from(zip.len()).unwrap().to_le_bytes();
        // Version 2.0, stored, 1 January 1980, sum, both sizes, lengths of name and of nothing else.
        let about = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc32(content.as_bytes()).to_le_bytes(),
            &size,
            &size,
            &name_length,
            &[0, 0],
        ]
        .concat();
        zip.extend([b"PK\x03\x04", &about[..], name.as_bytes(), content.as_bytes()].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &about[..], &[0; 10], &start, name.as_bytes()].concat());
        count += 1;
    }
    let (size, start) = (directory.len() as u32, zip.len() as u32);
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    zip.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    zip.extend([0, 0]);
    zip
}

/// The sum that zip archives have.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}
