//! Checks that an operator has in Rego: fed what Trivy and conftest feed theirs, in a process of their own.
//!
//! The interpreter is not safe for this process: a function that calls itself overflows the stack, and nested brackets
//! double the time of its parser with each level. So it runs in a child of ours that bounds itself before it reads
//! anything ([`child`]), and whoever asks waits until a deadline and then kills it ([`process`]). Whatever goes wrong
//! is a [`Failure`], never a pass.
//!
//! Reading order: [`input`] (a file to what checks see), [`wire`] (what the two processes say to each other),
//! `judge` (the interpreter), `metadata` and `builtins` (what Trivy adds to Rego), [`child`], [`process`],
//! [`findings`](mod@findings).
//!
//! Invariant: the guest's text is data in a JSON document, and never a part of a program or of a query.

mod builtins;
pub mod child;
pub mod findings;
pub mod input;
mod judge;
mod metadata;
pub mod process;
pub mod wire;

pub use self::wire::{Bounds, Failure, Hit};
