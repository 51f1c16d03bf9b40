//! `hold`: keeps `/data` alive while no guest is, and reads what a guest left there.
//!
//! Everything below the root is hostile: see [`crate::beneath`].

use std::{
    io::{BufRead, Write},
    os::fd::OwnedFd,
    path::PathBuf,
};

use crate::{
    args::Args,
    beneath::{self, Found},
    deadline::Deadline,
    wire::{Broken, Name, answer, length, line, protocol, surroundings, word},
};

pub(super) const OPTIONS: &[&str] = &["--deadline-s"];

/// A file is held in memory while it is read.
const MAX_READ: u64 = 64 << 20;
/// Names in one listing.
const MAX_NAMES: u64 = 10_000;

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    Deadline::exit_after(args.deadline()?);
    let path = args.directory()?.unwrap_or_else(|| PathBuf::from("/data"));
    let root = beneath::directory(&path)?;
    beneath::available(&root)?;
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    answer(&mut output, 'H', b"ready")?;
    serve(&root, &mut input, &mut output)?;
    Ok(0)
}

fn serve(root: &OwnedFd, input: &mut impl BufRead, output: &mut impl Write) -> Result<(), Broken> {
    while let Some(request) = line(input)? {
        match word(&request) {
            (b"Q", None) => break,
            (b"L", Some(max)) => {
                let max = usize::try_from(length(max, MAX_NAMES)?).unwrap_or(0);
                reply(output, 'L', listing(root, max))?;
            }
            (b"R", Some(rest)) => {
                let (max, name) = word(rest);
                let max = length(max, MAX_READ)?;
                let name = name.ok_or_else(|| protocol("R without a name"))?;
                serve_file(root, output, name, max)?;
            }
            _ => return Err(protocol("no such request")),
        }
    }
    Ok(())
}

fn serve_file(root: &OwnedFd, output: &mut impl Write, name: &[u8], max: u64) -> Result<(), Broken> {
    let found = Name::parse(name).and_then(|name| beneath::look(root, name.as_bytes(), max));
    match found {
        Ok(Found::File(file, size)) => match beneath::read(file, size) {
            Ok(Ok(bytes)) => answer(output, 'B', &bytes),
            Ok(Err(clause)) => answer(output, 'N', clause.as_bytes()),
            Err(broken) => answer(output, 'E', broken.to_string().as_bytes()),
        },
        Ok(Found::Missing(clause)) => answer(output, 'M', clause.as_bytes()),
        Ok(Found::Other(clause)) => answer(output, 'N', clause.as_bytes()),
        Ok(Found::TooLarge(size)) => answer(output, 'T', size.to_string().as_bytes()),
        Err(broken) => answer(output, 'E', broken.to_string().as_bytes()),
    }
}

fn reply(output: &mut impl Write, tag: char, bytes: Result<Vec<u8>, Broken>) -> Result<(), Broken> {
    match bytes {
        Ok(bytes) => answer(output, tag, &bytes),
        Err(broken) => answer(output, 'E', broken.to_string().as_bytes()),
    }
}

fn listing(root: &OwnedFd, max: usize) -> Result<Vec<u8>, Broken> {
    let space = rustix::fs::fstatvfs(root).map_err(|error| surroundings("measure the volume")(error.into()))?;
    let (mut names, truncated) = beneath::names(root, b".", max)?;
    names.sort();
    let mut listing = format!(
        "{} {} {} {}\n",
        (space.f_blocks - space.f_bfree) * space.f_frsize,
        space.f_blocks * space.f_frsize,
        space.f_files - space.f_ffree,
        u8::from(truncated),
    )
    .into_bytes();
    for name in names {
        listing.extend(format!("{}\n", name.len()).bytes());
        listing.extend(name);
    }
    Ok(listing)
}
