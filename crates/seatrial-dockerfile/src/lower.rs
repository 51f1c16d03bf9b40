//! A judged file -> the file that is built: only forms that every reader reads alike.
//!
//! The judge reads as BuildKit does, the builder is buildah, and they differ in many small things.
//! So what is built is a file of our own making: stages that nothing needs are gone, variables are
//! expanded by us with BuildKit's rules and their values quoted, commands are JSON, images are
//! local ids, here-documents that are scripts are arguments. What buildah was not seen to build as
//! BuildKit documents it is refused with a finding (ST090 to ST096).
//!
//! Settings that no command in the build can see (labels, ports, volumes, the command ...) are
//! written once, at the end of the last stage: each step costs the builder time.
//!
//! Not carried, because the OCI image format has no place for them and nothing in a run reads
//! them: `HEALTHCHECK`, `SHELL` (used here, where it matters), `ONBUILD` of a stage that no other
//! stage is built on.
//!
//! Reading order: [`stages`] (which stages, on which bases), [`step`] (instruction by
//! instruction), [`copy`] and [`mount`], [`emit`] (what is written), [`expect`] (what the image
//! must then be), [`rules`].

mod copy;
mod emit;
mod expect;
mod mount;
mod path;
mod rules;
mod stages;
mod step;
mod vars;

use std::collections::BTreeMap;

use seatrial_core::{
    finding::{Finding, Span},
    image::ImageConfig,
};

pub use rules::{findings, rules};

use crate::{
    parse::{self, Parsed},
    render,
};

/// A base image that the file needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUse {
    /// Its name, completed: `docker.io/library/debian:latest`.
    pub reference: String,
    /// 1-based line of the first use.
    pub line: usize,
    /// Where that use stands.
    pub span: Span,
}

/// What a base's name became.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoweredBase {
    /// The local image id, 64 hexadecimal digits.
    pub reference: String,
    /// Its config.
    pub config: ImageConfig,
}

/// What will be built, and what must come of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The text for the builder.
    pub dockerfile: String,
    /// One for each step that the builder counts, in the order of the text.
    pub steps: Vec<PlannedStep>,
    /// How many of them each stage has. The builder may begin a stage before those that it waits
    /// for, so only within a stage do steps come in order.
    pub stage_steps: Vec<usize>,
    /// The base that the final stage stands on, whatever stages lie between; `None` for `scratch`.
    pub final_base: Option<String>,
    /// The config that the image must have.
    pub config: ImageConfig,
}

/// A step of the builder and what asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedStep {
    /// 1-based line of the ORIGINAL file.
    pub line: usize,
    /// The instruction there, joined to one line and cut. Guest bytes: escape before printing.
    pub text: String,
}

impl Plan {
    /// What differs between the config of the built image and the plan; nothing: it is the image
    /// that was judged.
    #[must_use]
    pub fn mismatches(&self, built: &ImageConfig) -> Vec<String> {
        expect::mismatches(&self.config, built)
    }
}

/// The base images of the stages that the final stage needs, each once, in order.
///
/// # Errors
/// Findings, for a name that cannot be decided or is none.
pub fn base_references(parsed: &Parsed) -> Result<Vec<BaseUse>, Vec<Finding>> {
    let graph = stages::Graph::of(parsed)?;
    Ok(graph.bases())
}

/// Lowers a file that parses, on the bases that [`base_references`] named.
///
/// # Errors
/// Findings, for what is not built.
pub fn lower(parsed: &Parsed, bases: &BTreeMap<String, LoweredBase>) -> Result<Plan, Vec<Finding>> {
    let graph = stages::Graph::of(parsed)?;
    let lowered = step::walk(parsed, &graph, bases)?;
    let dockerfile = render::render(&lowered.file);
    // What the builder reads must be what was lowered: a value that broke out of its quotes or its
    // line would show here.
    let again = parse::parse_rendering(dockerfile.as_bytes());
    if !again.errors.is_empty() || !render::same(&again.dockerfile, &lowered.file) {
        return Err(vec![rules::at(
            parsed,
            &rules::UNWRITABLE,
            Span::new(0, 0),
            "the file".to_owned(),
        )]);
    }
    let stages = lowered.file.stages();
    Ok(Plan {
        dockerfile,
        steps: lowered.steps,
        stage_steps: stages.iter().map(|stage| stage.body.len() + 1).collect(),
        final_base: lowered.final_base,
        config: lowered.config,
    })
}
