//! The dev folder: everything that setup makes lies beneath it and goes with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// Marks a folder as ours, so that `clean` never removes somebody else's.
const MARKER: &str = ".seatrial-dev";

/// The longest path that the Engine makes for a socket below our folder. A socket's address has
/// room for 107 bytes.
const LONGEST_SOCKET: &str = "exec/containerd/containerd.sock.ttrpc";

/// Our own Engines, by the name that `SEATRIAL_ENGINE` picks one with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavour {
    /// The machine's `dockerd` with user namespaces: what tests run on unless they are told otherwise.
    Userns,
    /// Without: root in a container is root outside.
    Plain,
    /// Debian 13's, with user namespaces.
    Deb13,
    /// The one of Debian's next release, likewise.
    Forky,
    /// That one with containerd's image store.
    ForkyStore,
}

impl Flavour {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Userns, Self::Plain, Self::Deb13, Self::Forky, Self::ForkyStore];

    /// What `SEATRIAL_ENGINE` names.
    fn asked() -> Result<Self> {
        let asked = std::env::var("SEATRIAL_ENGINE").unwrap_or_default();
        if asked.is_empty() {
            return Ok(Self::Userns);
        }
        Self::named(&asked).context("SEATRIAL_ENGINE names no Engine")
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|flavour| flavour.name() == name);
        found.with_context(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no Engine {name}; there are {known}")
        })
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Userns => "userns",
            Self::Plain => "plain",
            Self::Deb13 => "deb13",
            Self::Forky => "forky",
            Self::ForkyStore => "forky-store",
        }
    }

    /// What the name of a file or folder of this Engine has at its end.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Userns => "",
            Self::Plain => "-plain",
            Self::Deb13 => "-deb13",
            Self::Forky => "-forky",
            Self::ForkyStore => "-forky-store",
        }
    }

    /// The same where room is scarce: a name of an interface has 15 bytes.
    pub(crate) fn short_suffix(self) -> &'static str {
        match self {
            Self::Userns => "",
            Self::Plain => "-p",
            Self::Deb13 => "-d",
            Self::Forky => "-f",
            Self::ForkyStore => "-s",
        }
    }

    /// The Debian release whose packages it is made of; none: it is the machine's own `dockerd`.
    pub(crate) fn suite(self) -> Option<&'static str> {
        match self {
            Self::Userns | Self::Plain => None,
            Self::Deb13 => Some("trixie"),
            Self::Forky | Self::ForkyStore => Some("forky"),
        }
    }

    /// Whether its containers are in user namespaces.
    pub(crate) fn has_user_namespaces(self) -> bool {
        self != Self::Plain
    }

    /// Whether containerd stores its images.
    pub(crate) fn has_containerd_store(self) -> bool {
        self == Self::ForkyStore
    }
}

/// The dev folder.
#[derive(Clone)]
pub(crate) struct Dev {
    root: PathBuf,
    /// Which Engine of ours is meant.
    pub(crate) engine: Flavour,
}

impl Dev {
    /// `$SEATRIAL_DEV_DIR`, else `$XDG_CACHE_HOME/seatrial-dev`, else `~/.cache/seatrial-dev`.
    pub(crate) fn locate() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = variable("SEATRIAL_DEV_DIR")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("seatrial-dev")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/seatrial-dev")))
            .context("set SEATRIAL_DEV_DIR: there is neither XDG_CACHE_HOME nor HOME")?;
        if !root.is_absolute() {
            bail!("SEATRIAL_DEV_DIR is {}; it must be an absolute path", root.display());
        }
        let engine = Flavour::asked()?;
        let longest = root.join(format!("engine{}", engine.suffix())).join(LONGEST_SOCKET);
        if longest.as_os_str().len() >= 104 {
            bail!(
                "{} is too long a path for an Engine's sockets; set SEATRIAL_DEV_DIR to a shorter one",
                root.display()
            );
        }
        Ok(Self { root, engine })
    }

    /// Makes the folder and marks it.
    pub(crate) fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.root).with_context(|| format!("cannot make {}", self.root.display()))?;
        let marker = self.path(MARKER);
        fs::write(&marker, "Made by `cargo xtask`. Remove with `make clean-dev`.\n")
            .with_context(|| format!("cannot write {}", marker.display()))
    }

    /// A path beneath it.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// A path beneath it whose folder exists.
    pub(crate) fn folder(&self, below: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.root.join(below);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Removes a folder beneath it.
    pub(crate) fn forget(&self, below: &str) -> Result<()> {
        let path = self.path(below);
        if !path.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Eight hex digits that differ between dev folders: names of kernel objects carry them.
    pub(crate) fn tag(&self) -> String {
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        hex::encode(&digest[..4])
    }

    /// Whether every user may walk to the folder. What is not there yet will be open.
    pub(crate) fn is_open(&self) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        self.root
            .ancestors()
            .filter_map(|folder| fs::metadata(folder).ok())
            .all(|folder| folder.permissions().mode() & 0o001 != 0)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// An error when the folder is there and was made by somebody else.
    pub(crate) fn check_is_ours(&self) -> Result<()> {
        if self.root.exists() && !self.path(MARKER).is_file() {
            bail!(
                "{} was not made by `cargo xtask`; remove it yourself",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Removes the folder. Nothing may be mounted beneath it.
    pub(crate) fn remove(&self) -> Result<()> {
        self.check_is_ours()?;
        if !self.root.exists() {
            return Ok(());
        }
        if let Some(mount) = mounts_below(&self.root)?.first() {
            bail!("{} is still mounted; nothing was removed", mount.display());
        }
        fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))
    }
}

/// Mount points beneath a folder, the deepest first.
pub(crate) fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read the list of mounts")?;
    let mut mounts: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect();
    mounts.sort_by_key(|point| std::cmp::Reverse(point.as_os_str().len()));
    Ok(mounts)
}

/// The checkout.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
