//! Walls: what stands between a guest and its host, as properties that are proven one by one, and levels, which
//! are names for sets of them.
//!
//! # Seen and told
//! A property is [`Proof::Seen`] when a probe inside of a container of the same kind met the wall, and
//! [`Proof::Told`] when only the Engine says so (a kernel of its own shows its own bounds, not the host's).
//! What is neither does not stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// One property of the container around a stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Root inside is not root outside.
    UserNamespace,
    /// System calls are answered by another kernel than the host's (gVisor, Kata).
    OwnKernel,
    /// A filter of system calls refuses what nobody needs: other socket families, and for a run `mount` and
    /// `unshare`.
    Seccomp,
    /// No file gives privileges.
    NoNewPrivileges,
    /// No capability at all.
    NoCapabilities,
    /// The root file system cannot be written.
    ReadOnlyRoot,
    /// Files through which a kernel is steered cannot be written, nor its memory read.
    KernelFiles,
    /// There is no interface but `lo`.
    NoNetwork,
    /// All that can be written has a bound.
    StoreBound,
    /// Memory has a bound.
    MemoryBound,
    /// Processes have a bound.
    PidsBound,
    /// Processor time has a bound.
    CpuBound,
}

impl Wall {
    /// All walls.
    pub const ALL: [Self; 12] = [
        Self::UserNamespace,
        Self::OwnKernel,
        Self::Seccomp,
        Self::NoNewPrivileges,
        Self::NoCapabilities,
        Self::ReadOnlyRoot,
        Self::KernelFiles,
        Self::NoNetwork,
        Self::StoreBound,
        Self::MemoryBound,
        Self::PidsBound,
        Self::CpuBound,
    ];

    /// Its name, as in a policy and in evidence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::OwnKernel => "own-kernel",
            Self::Seccomp => "seccomp",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::NoCapabilities => "no-capabilities",
            Self::ReadOnlyRoot => "read-only-root",
            Self::KernelFiles => "kernel-files",
            Self::NoNetwork => "no-network",
            Self::StoreBound => "store-bound",
            Self::MemoryBound => "memory-bound",
            Self::PidsBound => "pids-bound",
            Self::CpuBound => "cpu-bound",
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A set of walls.
pub type WallSet = BTreeSet<Wall>;

/// The stages that have guests' code in them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The builder.
    Build,
    /// The guest.
    Run,
}

impl Place {
    /// `build`, `run`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Run => "run",
        }
    }
}

/// Something for each stage that has guests' code in it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound(deserialize = "T: Default + Deserialize<'de>"))]
pub struct Walled<T> {
    /// Around the build.
    pub build: T,
    /// Around the run.
    pub run: T,
}

impl<T> Walled<T> {
    /// The one for a stage.
    pub fn at(&self, place: Place) -> &T {
        match place {
            Place::Build => &self.build,
            Place::Run => &self.run,
        }
    }
}

/// A name for a set of walls, from weak to strong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What every Engine must give: namespaces, filters, bounds. Root inside may be root outside.
    Namespaces,
    /// And user namespaces.
    Userns,
    /// A run in gVisor; the build at `userns`, for buildah does not work in gVisor.
    Gvisor,
    /// A run in a machine of its own (Kata); the build at `userns`.
    Kata,
}

impl Level {
    /// All levels, from weak to strong.
    pub const ALL: [Self; 4] = [Self::Namespaces, Self::Userns, Self::Gvisor, Self::Kata];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Userns => "userns",
            Self::Gvisor => "gvisor",
            Self::Kata => "kata",
        }
    }

    /// The walls that it asks for around a stage.
    #[must_use]
    pub fn walls(self, place: Place) -> WallSet {
        let mut walls = WallSet::from([
            Wall::NoNewPrivileges,
            Wall::ReadOnlyRoot,
            Wall::KernelFiles,
            Wall::NoNetwork,
            Wall::StoreBound,
            Wall::MemoryBound,
            Wall::PidsBound,
            Wall::CpuBound,
        ]);
        if place == Place::Run {
            walls.insert(Wall::NoCapabilities);
        }
        // A kernel of its own has its filter around itself; ours within is one more, where the runtime takes it.
        walls.insert(match (self, place) {
            (Self::Gvisor | Self::Kata, Place::Run) => Wall::OwnKernel,
            _ => Wall::Seccomp,
        });
        let mapped = match place {
            Place::Build => self >= Self::Userns,
            Place::Run => self == Self::Userns,
        };
        if mapped {
            walls.insert(Wall::UserNamespace);
        }
        walls
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What a policy or a submitter asks for by one word: a level, or a single wall.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ask {
    /// All walls of a level.
    Level(Level),
    /// One wall.
    Wall(Wall),
}

impl Ask {
    /// The walls that it means around a stage.
    #[must_use]
    pub fn walls(self, place: Place) -> WallSet {
        match self {
            Self::Level(level) => level.walls(place),
            Self::Wall(wall) => WallSet::from([wall]),
        }
    }

    /// All words.
    #[must_use]
    pub fn words() -> Vec<&'static str> {
        let levels = Level::ALL.iter().map(|level| level.as_str());
        levels.chain(Wall::ALL.iter().map(|wall| wall.as_str())).collect()
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => level.fmt(out),
            Self::Wall(wall) => wall.fmt(out),
        }
    }
}

/// What is asked for around each stage, beyond the weakest level.
pub type Asked = Walled<BTreeSet<Ask>>;

/// The word is neither a level nor a wall.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no level and no wall has this name; there are {}", Ask::words().join(", "))]
pub struct UnknownWall;

impl FromStr for Ask {
    type Err = UnknownWall;

    fn from_str(word: &str) -> Result<Self, UnknownWall> {
        let level = Level::ALL.into_iter().find(|level| level.as_str() == word);
        let wall = Wall::ALL.into_iter().find(|wall| wall.as_str() == word);
        level.map(Self::Level).or(wall.map(Self::Wall)).ok_or(UnknownWall)
    }
}

impl Serialize for Ask {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ask {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How a property is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// A probe inside met the wall.
    Seen,
    /// The Engine says so.
    Told,
}

/// The walls that stood around a stage: part of the result. What is in `proven` was met by a probe in a
/// container of the same kind; the rest is what the Engine told of this very guest before its start, and of the
/// probe's builder (a job's own builder is only compared with what was asked for).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Walls {
    /// Engine version.
    pub engine: String,
    /// Runtime.
    pub runtime: String,
    /// Root inside is not root outside.
    pub user_namespace: bool,
    /// Kernel release of the host.
    pub kernel: String,
    /// cgroup version.
    pub cgroup: String,
    /// `none`.
    pub network: String,
    /// Name of the seccomp profile and its digest, or whose filter stands in its place.
    pub seccomp: String,
    /// The AppArmor profile that the probe saw, `unconfined`, or `absent` when the kernel has none.
    pub apparmor: String,
    /// Capabilities of the guest or the steps: empty for a run, though not for its process 1, which is ours.
    pub capabilities: Vec<String>,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// No privileges can be gained.
    pub no_new_privileges: bool,
    /// `uid:gid` inside of the guest or the steps, not of a run's process 1.
    pub user: String,
    /// The strongest level whose walls all stand; none when not even the weakest does, or nothing was proven.
    pub level: Option<Level>,
    /// The walls that stand, and how that is known.
    pub proven: BTreeMap<Wall, Proof>,
}

impl Walls {
    /// Those of `asked` that do not stand.
    #[must_use]
    pub fn lacking(&self, asked: &WallSet) -> WallSet {
        asked
            .iter()
            .filter(|wall| !self.proven.contains_key(wall))
            .copied()
            .collect()
    }

    /// Sets what was proven, and the level that it makes.
    #[must_use]
    pub fn proven_by(mut self, proven: BTreeMap<Wall, Proof>, place: Place) -> Self {
        self.proven = proven;
        let machine = self.runtime.contains("kata");
        self.level = Level::ALL
            .into_iter()
            .rev()
            // A machine cannot be told from another kernel of its own but by its runtime's name.
            .filter(|level| match level {
                Level::Kata => machine && place == Place::Run,
                Level::Gvisor => !machine && place == Place::Run,
                Level::Namespaces | Level::Userns => true,
            })
            .find(|level| self.lacking(&level.walls(place)).is_empty());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(walls: WallSet, place: Place) -> Walls {
        Walls::default().proven_by(walls.into_iter().map(|wall| (wall, Proof::Seen)).collect(), place)
    }

    #[test]
    fn a_level_is_reached_with_all_of_its_walls_and_with_none_less() {
        for level in [Level::Namespaces, Level::Userns, Level::Gvisor] {
            let walls = level.walls(Place::Run);
            assert_eq!(standing(walls.clone(), Place::Run).level, Some(level));
            for missing in &walls {
                let mut fewer = walls.clone();
                fewer.remove(missing);
                assert_ne!(standing(fewer, Place::Run).level, Some(level), "without {missing}");
            }
        }
    }

    #[test]
    fn a_build_has_the_level_of_user_namespaces_at_most() {
        let all: WallSet = Wall::ALL.into_iter().collect();
        assert_eq!(standing(all, Place::Build).level, Some(Level::Userns));
        assert_eq!(Level::Gvisor.walls(Place::Build), Level::Userns.walls(Place::Build));
    }

    #[test]
    fn another_kernel_is_a_machine_only_under_a_runtime_of_that_name() {
        let proven: BTreeMap<Wall, Proof> = Wall::ALL.into_iter().map(|wall| (wall, Proof::Seen)).collect();
        let walls = |runtime: &str| Walls {
            runtime: runtime.to_owned(),
            ..Walls::default()
        };
        assert_eq!(
            walls("kata-qemu").proven_by(proven.clone(), Place::Run).level,
            Some(Level::Kata)
        );
        assert_eq!(walls("runsc").proven_by(proven, Place::Run).level, Some(Level::Gvisor));
    }

    #[test]
    fn nothing_proven_is_no_level() {
        assert_eq!(standing(WallSet::new(), Place::Run).level, None);
    }

    #[test]
    fn every_word_reads_back_and_another_lists_them() {
        for word in Ask::words() {
            assert_eq!(word.parse::<Ask>().unwrap().to_string(), word);
        }
        let refused = "gvizor".parse::<Ask>().unwrap_err().to_string();
        assert!(refused.contains("gvisor") && refused.contains("seccomp"), "{refused}");
    }
}
