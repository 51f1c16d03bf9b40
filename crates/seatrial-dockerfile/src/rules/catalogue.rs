//! What is judged, in words. Ids never change; a retired one is never used again.

use seatrial_core::finding::Rule;

use crate::lower;

/// Rules as a table: `id severity level [concerns] [aliases] title because so bad good`, by id.
macro_rules! rules {
    ($($id:ident $severity:ident $level:ident [$($concern:literal),*] [$($alias:literal),*]
        $title:literal because $reason:literal so $remedy:literal bad $bad:tt good $good:tt;)*) => {
        $(
            #[doc = $title]
            pub(in crate::rules) static $id: seatrial_core::finding::Rule = seatrial_core::finding::Rule {
                id: stringify!($id),
                title: $title,
                level: level!($level),
                severity: seatrial_core::finding::Severity::$severity,
                reason: $reason,
                remedy: $remedy,
                concerns: &[$($concern),*],
                aliases: &[$($alias),*],
                bad: $bad,
                good: $good,
            };
        )*
        /// All of this table.
        pub(super) static ALL: &[&seatrial_core::finding::Rule] = &[$(&$id),*];
    };
}

macro_rules! level {
    (error) => {
        seatrial_core::finding::Level::Error
    };
    (warn) => {
        seatrial_core::finding::Level::Warn
    };
    (info) => {
        seatrial_core::finding::Level::Info
    };
}

mod bases;
mod commands;
mod files;
mod habits;
mod packages;
mod safety;
mod secrets;
mod shell;
mod users;

pub(super) use self::{
    bases::*, commands::*, files::*, habits::*, packages::*, safety::*, secrets::*, shell::*, users::*,
};

/// All of them, table by table.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    let checks = [
        bases::ALL,
        users::ALL,
        secrets::ALL,
        shell::ALL,
        packages::ALL,
        commands::ALL,
        files::ALL,
        habits::ALL,
    ];
    safety::ALL
        .iter()
        .copied()
        .chain(lower::rules())
        .chain(checks.into_iter().flatten().copied())
}
