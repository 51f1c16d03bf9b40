//! `put`: writes files of ours into a fresh volume.

use std::{fs, io::Write, os::unix::fs::PermissionsExt};

use crate::{
    args::Args,
    beneath,
    deadline::Deadline,
    spool,
    wire::{Broken, Name, header, length, protocol, surroundings},
};

pub(super) const OPTIONS: &[&str] = &["--deadline-s", "--mode"];

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    Deadline::exit_after(args.deadline()?);
    let target = args
        .directory()?
        .ok_or_else(|| Broken::Usage("put where?".to_owned()))?;
    let own_mode = args.text("--mode").map(|text| spool::mode(text.as_encoded_bytes()));
    let own_mode = own_mode.transpose()?;
    let root = beneath::directory(&target)?;
    let mut input = std::io::stdin().lock();
    let mut count: u64 = 0;
    loop {
        let header = header(&mut input)?;
        if header == b"." {
            break;
        }
        let fields: Vec<&[u8]> = header.splitn(4, |byte| *byte == b' ').collect();
        let [b"F", mode, size, name] = fields.as_slice() else {
            return Err(protocol("put takes F frames and an end"));
        };
        let (mode, size) = (spool::mode(mode)?, length(size, u64::MAX)?);
        spool::file(&mut input, &root, &Name::parse(name)?, mode, size)?;
        count += 1;
    }
    if let Some(mode) = own_mode {
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
            .map_err(surroundings("set the mode of the directory"))?;
    }
    let opened = fs::File::open(&target).map_err(surroundings("open the directory"))?;
    rustix::fs::syncfs(&opened).map_err(|error| surroundings("sync")(error.into()))?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "ok {count}")
        .and_then(|()| output.flush())
        .map_err(surroundings("answer"))?;
    Ok(0)
}
