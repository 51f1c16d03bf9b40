//! Frames that become files: the inputs of a guest, the image for the scanner.

use std::{
    fs::File,
    io::{BufRead, BufWriter, Write},
    os::fd::OwnedFd,
    path::Path,
};

use crate::{
    beneath,
    wire::{Broken, Name, body, protocol, surroundings},
};

/// Creates the file and fills it with the next `length` bytes of the input.
pub(crate) fn file(
    input: &mut impl BufRead,
    root: &OwnedFd,
    name: &Name,
    mode: u32,
    length: u64,
) -> Result<(), Broken> {
    let file = beneath::create(root, name, mode)?;
    fill(input, file, length)
}

/// Fills a file that did not exist before, at a path of ours.
pub(crate) fn at(input: &mut impl BufRead, path: &Path, length: u64) -> Result<(), Broken> {
    let file = File::create_new(path).map_err(surroundings(&format!("create {}", path.display())))?;
    fill(input, file, length)
}

fn fill(input: &mut impl BufRead, file: File, length: u64) -> Result<(), Broken> {
    let mut file = BufWriter::with_capacity(1 << 16, file);
    body(input, &mut file, length)?;
    file.flush().map_err(surroundings("write a file"))
}

/// At most three octal digits, or four with a leading zero.
pub(crate) fn mode(digits: &[u8]) -> Result<u32, Broken> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let well_formed = matches!(digits.len(), 3 | 4) && digits.iter().all(u8::is_ascii_digit);
    match u32::from_str_radix(text, 8) {
        Ok(mode) if well_formed && mode <= 0o777 => Ok(mode),
        _ => Err(protocol("a mode is not three octal digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_gives_permissions_only() {
        assert_eq!(mode(b"644").unwrap(), 0o644);
        assert_eq!(mode(b"0555").unwrap(), 0o555);
        for bad in ["", "4755", "1777", "999", "+44", "00644", "64"] {
            assert!(mode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
