//! The only crate that speaks to a container Engine.
//!
//! Reading order: [`engine`] (the seam's methods), [`lower`] (limits and walls as Engine settings),
//! then one file per stage: [`base`], [`builder`] with [`verify`] and [`layer`], [`guest`] with
//! [`walls`], [`egress`] (the way out of both), [`data`], [`tool`]; what stands ready for the next job: [`pool`]; what cleans up: [`container`], [`janitor`], [`sweep`], with [`instance`] and [`names`]
//! and who looks at the Engine from outside: [`census`].
//!
//! Invariants: no type of the client library leaves this crate; every call is bounded in time;
//! whatever is created is owned by a guard before the request is sent; nothing is removed that is
//! not provably ours and dead.

mod archive;
mod base;
mod builder;
mod census;
mod client;
mod container;
mod data;
mod egress;
mod engine;
mod frames;
mod guest;
mod instance;
mod janitor;
mod json;
mod layer;
mod load;
mod lock;
mod lower;
mod names;
mod own;
mod pool;
mod probe;
mod prove;
mod reach;
mod record;
mod region;
mod report;
mod saved;
mod stdio;
mod steps;
mod sweep;
mod tool;
mod verify;
mod versions;
mod walls;

pub use census::Census;
pub use engine::{DockerEngine, EngineSettings};
pub use reach::Reach;
pub use versions::Versions;
