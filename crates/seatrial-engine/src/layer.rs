//! Reads the headers of a layer that a builder made, and refuses what could mean something else to
//! another reader, or leave the place where it is unpacked.
//!
//! A layer is read by several programs: the Engine unpacks it, the scanner looks into it. Wherever
//! two readers of tar can disagree (GNU headers, sparse files, sizes given twice, data after a link)
//! a guest could show one file to the scanner and another to the Engine. So only the one dialect
//! that the builder writes is accepted: `ustar` with PAX records, each at most once, known by name.
//! Nothing is ever extracted here.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, BufReader, Read, Seek},
};

use crate::region::Region;

/// Why a layer is not taken.
#[derive(Debug)]
pub(crate) enum Bad {
    /// The guest's fault, as a clause. May hold guest bytes.
    Refused(String),
    /// Ours.
    Local(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Refused("a layer ends in the middle of an entry".to_owned());
        }
        Self::Local(error)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Bad> {
    Err(Bad::Refused(why.into()))
}

/// Entries of all new layers together, with the folders that are only named on the way.
const MAX_ENTRIES: usize = 200_000;
/// Longest path and link target, in bytes.
const MAX_PATH: usize = 4096;
/// Longest name, in bytes.
const MAX_NAME: usize = 255;
/// Deepest path, in names.
const MAX_DEPTH: usize = 200;
/// All PAX records of one entry.
const MAX_PAX: u64 = 1 << 20;
/// Where our own things are in every container.
const RESERVED: &[u8] = b".seatrial";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Dir,
    File,
    Link,
    /// A folder, because something of the layer lies beneath it.
    Implied,
}

/// What is known of all layers so far. Paths are kept as keyed hashes: a collision, which nobody
/// can aim at, refuses an image that was fine.
#[derive(Debug)]
pub(crate) struct Tree {
    keys: RandomState,
    /// Symbolic links of the layers below.
    links: HashSet<u64>,
    /// What the job's own layers put where.
    kinds: HashMap<u64, Kind>,
    entries: usize,
    /// Files with the setuid or setgid bit; harmless without new privileges, but worth telling.
    pub(crate) privileged_files: usize,
}

impl Tree {
    /// On a base with these links.
    pub(crate) fn on<'a>(base_links: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut tree = Self {
            keys: RandomState::new(),
            links: HashSet::new(),
            kinds: HashMap::new(),
            entries: 0,
            privileged_files: 0,
        };
        for path in base_links {
            let key = tree.key(path);
            tree.links.insert(key);
        }
        tree
    }

    fn key(&self, path: &[u8]) -> u64 {
        self.prefixes(path).last().copied().unwrap_or_default()
    }

    /// Keys of `a`, `a/b`, `a/b/c`, in time that grows with the length only.
    fn prefixes(&self, path: &[u8]) -> Vec<u64> {
        let mut hasher = self.keys.build_hasher();
        path.split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .map(|name| {
                hasher.write(name);
                hasher.write_u8(b'/');
                hasher.clone().finish()
            })
            .collect()
    }

    /// Whether a path of the finished image is, or goes through, a symbolic link or a file.
    pub(crate) fn is_no_plain_folder(&self, path: &str) -> bool {
        self.prefixes(path.as_bytes())
            .iter()
            .any(|key| self.links.contains(key) || matches!(self.kinds.get(key), Some(Kind::File | Kind::Link)))
    }

    /// Checks one layer and remembers what it puts where.
    pub(crate) fn check_layer(&mut self, file: &File, offset: u64, len: u64) -> Result<(), Bad> {
        let mut reader = BufReader::with_capacity(64 << 10, Region::new(file, offset, len));
        let mut own: HashMap<u64, Kind> = HashMap::new();
        let mut pax: Option<Pax> = None;
        while let Some(header) = Header::read(&mut reader)? {
            if header.kind == b'x' {
                if pax.is_some() {
                    return refuse("an entry has its PAX records twice");
                }
                pax = Some(Pax::read(&mut reader, header.size)?);
                continue;
            }
            self.count()?;
            let entry = Entry::new(header, pax.take().unwrap_or_default())?;
            self.check_entry(&entry, &mut own)?;
            skip(&mut reader, entry.size)?;
        }
        if pax.is_some() {
            return refuse("PAX records stand at the end of a layer");
        }
        let mut rest = [0; 4096];
        loop {
            match reader.read(&mut rest)? {
                0 => break,
                got if rest[..got].iter().all(|byte| *byte == 0) => {}
                _ => return refuse("a layer goes on after its end"),
            }
        }
        for (key, kind) in own {
            match kind {
                Kind::Link => self.links.insert(key),
                Kind::Dir | Kind::File => self.links.remove(&key),
                // Not behind a link, as was checked, and nothing else is known of it.
                Kind::Implied => continue,
            };
            self.kinds.insert(key, kind);
        }
        Ok(())
    }

    /// Bounds what is remembered.
    fn count(&mut self) -> Result<(), Bad> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return refuse(format!("the layers have more than {MAX_ENTRIES} entries"));
        }
        Ok(())
    }

    fn check_entry(&mut self, entry: &Entry, own: &mut HashMap<u64, Kind>) -> Result<(), Bad> {
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        let keys = self.prefixes(&entry.path);
        let Some((key, parents)) = keys.split_last() else {
            // The root of the layer.
            return if entry.kind == b'5' {
                Ok(())
            } else {
                refuse("the root of a layer is not a folder")
            };
        };
        if entry.path.split(|byte| *byte == b'/').next() == Some(RESERVED) {
            return refuse("it has a /.seatrial, which is ours");
        }
        for parent in parents {
            match own.get(parent) {
                Some(Kind::Dir | Kind::Implied) => {}
                Some(Kind::File | Kind::Link) => {
                    return refuse(format!("{} lies under something that is not a folder", shown()));
                }
                None if self.links.contains(parent) => {
                    return refuse(format!("{} lies behind a symbolic link", shown()));
                }
                None => {
                    self.count()?;
                    own.insert(*parent, Kind::Implied);
                }
            }
        }
        let mut names = entry.path.rsplit(|byte| *byte == b'/');
        let base = names.next().unwrap_or_default();
        if names.any(|name| name.starts_with(b".wh.")) {
            return refuse(format!("{} lies in a mark of a removed file", shown()));
        }
        if let Some(hidden) = base.strip_prefix(b".wh.") {
            let plain = hidden != b"." && hidden != b".." && !hidden.is_empty();
            let known = !hidden.starts_with(b".wh.") || hidden == b".wh..opq";
            if !plain || !known || entry.kind != b'0' || entry.size != 0 {
                return refuse(format!("{} is not a proper mark of a removed file", shown()));
            }
        }
        let kind = match entry.kind {
            b'5' => Kind::Dir,
            // A named pipe has nothing in it and leads nowhere.
            b'0' | b'6' => Kind::File,
            b'2' => Kind::Link,
            b'1' => {
                let target_keys = self.prefixes(&entry.link);
                let Some((target, folders)) = target_keys.split_last() else {
                    return refuse(format!("{} is a hard link to nothing", shown()));
                };
                if folders
                    .iter()
                    .any(|key| matches!(own.get(key), Some(Kind::File | Kind::Link)))
                {
                    return refuse(format!("{} is a hard link through a symbolic link", shown()));
                }
                match own.get(target) {
                    Some(kind @ (Kind::File | Kind::Link)) => *kind,
                    Some(Kind::Dir | Kind::Implied) => {
                        return refuse(format!("{} is a hard link to a folder", shown()));
                    }
                    None => return refuse(format!("{} is a hard link to what is not in its layer", shown())),
                }
            }
            b'3' | b'4' => return refuse(format!("{} is a device", shown())),
            other => return refuse(format!("{} is of a type that is not known ({other})", shown())),
        };
        match (own.insert(*key, kind), kind) {
            (None, _) | (Some(Kind::Implied), Kind::Dir) => {}
            (Some(Kind::Implied), _) => {
                return refuse(format!("{} is not a folder, and something lies beneath it", shown()));
            }
            (Some(_), _) => return refuse(format!("{} is there twice", shown())),
        }
        if kind == Kind::File && entry.mode & 0o6000 != 0 {
            self.privileged_files += 1;
        }
        Ok(())
    }
}

/// One header, its checksum checked.
struct Header {
    path: Vec<u8>,
    link: Vec<u8>,
    mode: u64,
    size: u64,
    kind: u8,
}

impl Header {
    /// `None` at the end of the archive.
    fn read(reader: &mut impl Read) -> Result<Option<Self>, Bad> {
        let mut block = [0_u8; 512];
        reader.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            reader.read_exact(&mut block)?;
            return if block.iter().all(|byte| *byte == 0) {
                Ok(None)
            } else {
                refuse("a layer goes on after its end")
            };
        }
        if &block[257..265] != b"ustar\x0000" {
            return refuse("a layer has a header that is not in the ustar format");
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        if octal(&block[148..156])? != sum {
            return refuse("a layer has a header with a wrong checksum");
        }
        for field in [108..116, 116..124, 136..148, 329..337, 337..345] {
            octal(&block[field])?;
        }
        // `tar` at the end means the star format, whose prefix is shorter.
        if block[500..].iter().any(|byte| *byte != 0) {
            return refuse("a layer has a header with something after its last field");
        }
        let mut path = text(&block[345..500])?.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(text(&block[..100])?);
        let kind = if block[156] == 0 { b'0' } else { block[156] };
        Ok(Some(Self {
            path,
            link: text(&block[157..257])?.to_vec(),
            mode: octal(&block[100..108])?,
            size: octal(&block[124..136])?,
            kind,
        }))
    }
}

/// A text field: everything after the first NUL must be NUL.
fn text(field: &[u8]) -> Result<&[u8], Bad> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    if field[end..].iter().any(|byte| *byte != 0) {
        return refuse("a layer has a header with text after the end of a field");
    }
    Ok(&field[..end])
}

/// An octal field. The binary form of GNU tar is refused.
fn octal(field: &[u8]) -> Result<u64, Bad> {
    let digits = field.trim_ascii_start();
    let end = digits
        .iter()
        .position(|byte| matches!(byte, 0 | b' '))
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) || digits.iter().any(|byte| !(b'0'..=b'7').contains(byte)) {
        return refuse("a layer has a header with a number that is not octal");
    }
    // At most 12 digits: no overflow.
    Ok(digits
        .iter()
        .fold(0, |number, digit| number * 8 + u64::from(digit - b'0')))
}

/// The records that may stand before a header.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Pax {
    fn read(reader: &mut (impl Read + Seek), size: u64) -> Result<Self, Bad> {
        if size > MAX_PAX {
            return refuse("an entry has too many PAX records");
        }
        let mut bytes = vec![0; size as usize];
        reader.read_exact(&mut bytes)?;
        skip_padding(reader, size)?;
        let mut pax = Self::default();
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Record { key, value, after } = record(rest)?;
            rest = after;
            if !seen.insert(key.to_vec()) {
                return refuse("an entry has a PAX record twice");
            }
            match key {
                b"path" => pax.path = Some(name_value(value)?),
                b"linkpath" => pax.link = Some(name_value(value)?),
                b"size" => pax.size = Some(decimal(value)?),
                b"mtime" | b"atime" | b"ctime" | b"uid" | b"gid" | b"uname" | b"gname" => {}
                _ => match key.strip_prefix(b"SCHILY.xattr.") {
                    Some(attribute) if is_harmless(attribute) => {}
                    Some(attribute) => {
                        return refuse(format!(
                            "a file has the attribute {}",
                            String::from_utf8_lossy(attribute)
                        ));
                    }
                    None => return refuse(format!("an entry has the PAX record {}", String::from_utf8_lossy(key))),
                },
            }
        }
        Ok(pax)
    }
}

/// `25 ctime=1084839148.1212\n` and what follows.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    after: &'a [u8],
}

fn record(bytes: &[u8]) -> Result<Record<'_>, Bad> {
    let broken = || Bad::Refused("a layer has PAX records that cannot be read".to_owned());
    let space = bytes.iter().take(8).position(|byte| *byte == b' ').ok_or_else(broken)?;
    let len = usize::try_from(decimal(&bytes[..space])?).map_err(|_| broken())?;
    let body = bytes
        .get(space + 1..len)
        .and_then(|body| body.strip_suffix(b"\n"))
        .ok_or_else(broken)?;
    let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.is_empty() {
        Err(broken())
    } else {
        Ok(Record {
            key,
            value,
            after: &bytes[len..],
        })
    }
}

fn name_value(value: &[u8]) -> Result<Vec<u8>, Bad> {
    if value.is_empty() || value.contains(&0) {
        return refuse("an entry has a name with a zero byte in it, or none");
    }
    Ok(value.to_vec())
}

fn decimal(text: &[u8]) -> Result<u64, Bad> {
    std::str::from_utf8(text)
        .ok()
        .and_then(crate::frames::number)
        .ok_or_else(|| Bad::Refused("a layer has PAX records with a number that is not one".to_owned()))
}

/// Extended attributes that mean nothing to the file systems and programs around the guest.
/// `security.capability` cannot be used without new privileges.
fn is_harmless(attribute: &[u8]) -> bool {
    const FOR_OVERLAYS: [&[u8]; 3] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers."];
    match attribute {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => attribute.starts_with(b"user.") && !FOR_OVERLAYS.iter().any(|prefix| attribute.starts_with(prefix)),
    }
}

/// A header with its records applied and its path normalised.
struct Entry {
    path: Vec<u8>,
    link: Vec<u8>,
    mode: u64,
    size: u64,
    kind: u8,
}

impl Entry {
    fn new(header: Header, pax: Pax) -> Result<Self, Bad> {
        // Sizes over 8 GiB need the record; those are over every bound of ours anyway.
        if pax.size.is_some_and(|size| size != header.size) {
            return refuse("an entry says two different sizes");
        }
        if header.kind != b'0' && header.size != 0 {
            return refuse("an entry that is not a plain file has data");
        }
        let raw = pax.path.unwrap_or(header.path);
        let is_folder = header.kind == b'5';
        let path = normal(&raw, is_folder)?;
        let link = match header.kind {
            b'1' => normal(&pax.link.unwrap_or(header.link), false)?,
            b'2' => {
                let target = pax.link.unwrap_or(header.link);
                if target.is_empty() || target.len() > MAX_PATH {
                    return refuse("a symbolic link has no target, or one that is too long");
                }
                target
            }
            _ if pax.link.is_some() || !header.link.is_empty() => {
                return refuse("an entry that is not a link has a target");
            }
            _ => Vec::new(),
        };
        Ok(Self {
            path,
            link,
            mode: header.mode,
            size: header.size,
            kind: header.kind,
        })
    }
}

/// Checks that a path is relative and has one spelling; gives it without the slash of folders.
fn normal(raw: &[u8], is_folder: bool) -> Result<Vec<u8>, Bad> {
    let shown = || String::from_utf8_lossy(raw).into_owned();
    let path = if is_folder {
        raw.strip_suffix(b"/").unwrap_or(raw)
    } else {
        raw
    };
    if path.len() > MAX_PATH || path.split(|byte| *byte == b'/').count() > MAX_DEPTH {
        return refuse("an entry has a path that is too long or too deep");
    }
    if is_folder && path == b"." {
        return Ok(Vec::new());
    }
    if path.starts_with(b"/") {
        return refuse(format!("{} is an absolute path", shown()));
    }
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => return refuse(format!("{} is not a plain path", shown())),
            b".." => return refuse(format!("{} leaves its folder", shown())),
            _ if name.len() > MAX_NAME => return refuse("an entry has a name that is too long"),
            _ => {}
        }
    }
    Ok(path.to_vec())
}

/// Skips the data of an entry. Going beyond the end shows at the next header.
fn skip(reader: &mut (impl Read + Seek), size: u64) -> Result<(), Bad> {
    let padded = size.div_ceil(512) * 512;
    let by = i64::try_from(padded).map_err(|_| Bad::Refused("an entry has a size beyond all bounds".to_owned()))?;
    reader.seek_relative(by)?;
    Ok(())
}

fn skip_padding(reader: &mut (impl Read + Seek), size: u64) -> Result<(), Bad> {
    let padding = size.div_ceil(512) * 512 - size;
    reader.seek_relative(padding as i64)?;
    Ok(())
}

#[cfg(test)]
#[path = "layer/tests.rs"]
mod tests;
