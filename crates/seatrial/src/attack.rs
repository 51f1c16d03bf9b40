//! The attacks that Seatrial was tested with, repeated by the operator: `seatrial doctor --attack`.
//!
//! [`specimen`] is what lies in the binary, [`suite`] runs one after the other, [`judge`] says of a trial
//! whether its walls held, [`host`] whether the host is as it was, [`report`] tells it.
//!
//! Invariant: an attack that did not take place is never called contained. A refusal that the specimen does not
//! ask for, a fault of ours, a silent probe, a kernel that has no such thing: all of that is `not_run`.

pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod report;
pub(crate) mod specimen;
pub(crate) mod suite;

/// How an attack ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The walls held, and the attack met them.
    Contained,
    /// Something that must not happen did.
    Escaped(String),
    /// Nothing is known: the attack did not take place.
    NotRun(String),
}

impl End {
    /// The word of the verdict.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Contained => "contained",
            Self::Escaped(_) => "escaped",
            Self::NotRun(_) => "not_run",
        }
    }

    /// What escaped, or why it did not run.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            Self::Contained => None,
            Self::Escaped(what) => Some(what),
            Self::NotRun(why) => Some(why),
        }
    }

    /// Both: what escaped outweighs what did not run, and that outweighs what was contained.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Escaped(one), Self::Escaped(two)) => Self::Escaped(format!("{one}; {two}")),
            (escaped @ Self::Escaped(_), _) | (_, escaped @ Self::Escaped(_)) => escaped,
            (silent @ Self::NotRun(_), _) | (_, silent @ Self::NotRun(_)) => silent,
            (Self::Contained, Self::Contained) => Self::Contained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_escaped_outweighs_all_and_silence_is_never_contained() {
        let escaped = || End::Escaped("x".to_owned());
        let silent = || End::NotRun("y".to_owned());
        assert_eq!(silent().and(escaped()), escaped());
        assert_eq!(escaped().and(End::Contained), escaped());
        assert_eq!(End::Contained.and(silent()), silent());
        assert_eq!(escaped().and(escaped()), End::Escaped("x; x".to_owned()));
    }
}
