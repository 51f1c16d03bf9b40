//! Dockerfile text to meaning: parse as BuildKit does, judge, render, lower. Pure: no I/O, no
//! clock, never panics.
//!
//! Reading order: [`ast`] (what a file says), [`parse`](mod@parse) (bytes to tree, all errors in
//! one pass), [`rules`] (what makes it unsafe to build), [`lower`] (a tree to the one that is built),
//! [`render`](mod@render) (a tree to text), [`fix`] (a text with its findings corrected), [`reference`](mod@reference) (names of images).
//!
//! Invariant: time and memory are linear in the file, and nothing recurses on its depth. What
//! this crate accepts, BuildKit accepts and reads in the same way; what it refuses beyond BuildKit
//! is listed in [`mod@parse`].

pub mod ast;
mod error;
pub mod fix;
mod gotext;
mod heredoc;
mod json;
pub mod lower;
pub mod parse;
pub mod reference;
pub mod render;
mod report;
pub mod rules;
mod script;
mod shell;

pub use ast::Dockerfile;
pub use error::{ErrorKind, ErrorLevel, ParseError};
pub use parse::{MAX_FILE_BYTES, MAX_INSTRUCTIONS, MAX_LINE_BYTES, MAX_STAGES, Parsed, parse};
pub use render::render;
pub use report::parse_report;
pub use script::shell_commands;
