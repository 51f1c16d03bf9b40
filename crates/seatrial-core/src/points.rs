//! Named points of the code at which a test can end the process, as the kernel would.
//!
//! A builder, a guest, a row in a ledger: at each moment something is begun and not done. What a worker leaves
//! behind when it dies just then cannot be thought out, only tried. So the calls to Engine, ledger and vault and
//! the stages of the walk are points, each with a name, and a test has a worker killed at each of them.
//!
//! The environment says so, read once, and **only in builds with debug assertions**: in a release build [`pass`]
//! does nothing, so that no stray variable can end a worker. `debug_assertions` and no cargo feature, because
//! the binary that all tests use is a debug build already, and a feature would need a second one.
//!
//! - `SEATRIAL_POINTS=FILE`: the name of each point that is passed is written there, a line each.
//! - `SEATRIAL_DIE_AT=NAME#N`: `SIGKILL` for the whole process when `NAME` is passed for the Nth time.

use std::{
    fmt,
    fs::File,
    io::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// On which side of a piece of work a point is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Nothing of it was done.
    Before,
    /// It was done, well or not; nobody acted on it.
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// What the environment asked for.
#[derive(Default)]
struct Asked {
    list: Option<File>,
    die_at: Option<DieAt>,
}

/// The point at which to die, and how often it was passed.
struct DieAt {
    name: String,
    nth: u64,
    passed: AtomicU64,
}

impl DieAt {
    /// `NAME#N`; without a number the first time.
    fn parse(text: &str) -> Self {
        let numbered = text
            .rsplit_once('#')
            .and_then(|(name, nth)| Some((name, nth.parse().ok()?)));
        let (name, nth) = numbered.unwrap_or((text, 1));
        Self {
            name: name.to_owned(),
            nth,
            passed: AtomicU64::new(0),
        }
    }

    /// Whether this passing is the one.
    fn is_now(&self, name: &str) -> bool {
        name == self.name && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.nth
    }
}

impl Asked {
    fn of_environment() -> Self {
        let list = std::env::var_os("SEATRIAL_POINTS")
            .and_then(|path| File::options().create(true).append(true).open(path).ok());
        Self {
            list,
            die_at: std::env::var("SEATRIAL_DIE_AT").ok().map(|text| DieAt::parse(&text)),
        }
    }

    fn pass(&self, name: &str) {
        if let Some(mut list) = self.list.as_ref() {
            // One write, so that lines of several threads do not mix; a list that cannot be written is no fault.
            let _ = list.write_all(format!("{name}\n").as_bytes());
        }
        if self.die_at.as_ref().is_some_and(|at| at.is_now(name)) {
            die();
        }
    }
}

/// No destructor runs, nothing is flushed: what another process would see of a worker that the kernel ended.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Never reached: the signal ends the thread before it comes back from the call.
    std::process::abort()
}

/// Whether anybody asked for points in this process.
#[must_use]
pub fn are_watched() -> bool {
    cfg!(debug_assertions) && asked().is_some()
}

fn asked() -> Option<&'static Asked> {
    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let asked = Asked::of_environment();
        (asked.list.is_some() || asked.die_at.is_some()).then_some(asked)
    });
    asked.as_ref()
}

/// Passes the point `PART/WORK/SIDE`. Nothing happens unless a test asked for it.
pub fn pass(part: &str, work: &str, side: Side) {
    if !cfg!(debug_assertions) {
        return;
    }
    if let Some(asked) = asked() {
        asked.pass(&format!("{part}/{work}/{side}"));
    }
}

/// Does a piece of work between its two points.
pub async fn around<T>(part: &str, name: &str, work: impl Future<Output = T>) -> T {
    pass(part, name, Side::Before);
    let done = work.await;
    pass(part, name, Side::After);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_to_die_is_one_passing_of_one_name() {
        let at = DieAt::parse("engine/start a container/before#2");
        let passings = [
            ("engine/start a container/after", false),
            ("engine/start a container/before", false),
            ("engine/start a container/before", true),
            ("engine/start a container/before", false),
        ];
        for (name, dies) in passings {
            assert_eq!(at.is_now(name), dies, "{name}");
        }
        assert!(DieAt::parse("ledger/claim/after").is_now("ledger/claim/after"));
    }

    #[test]
    fn nobody_watches_unless_the_environment_says_so() {
        assert!(!are_watched());
        pass("walk", "build", Side::Before);
    }
}
