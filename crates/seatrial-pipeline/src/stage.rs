//! The stages of the walk. Each takes the value that the one before it made, so "run what was not
//! cleared" does not compile: [`clear::Cleared`] is made by [`clear::clear`] alone, and
//! [`run::run`] takes nothing else.

pub mod build;
pub mod clear;
pub mod collect;
pub mod resolve;
pub mod run;
pub mod scan;
pub mod walls;
