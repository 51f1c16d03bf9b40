//! The walls of this Engine, met by a probe in a container of each kind.

use seatrial_core::{
    engine::{Engine, EngineFacts},
    walls::{Asked, Level, Proof, Walls},
};
use seatrial_pipeline::stage::walls::{candidates, missing};
use seatrial_policy::Policy;

use super::{Check, missing as lacking, ok, weak};

/// A check for builds, and one for runs in each runtime that is tried, up to the one that jobs are given to.
pub(super) async fn proven(
    engine: &dyn Engine,
    facts: &EngineFacts,
    named: Option<&str>,
    policy: &Policy,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let candidates = candidates(named, &facts.runtimes);
    let last = candidates.len().saturating_sub(1);
    for (index, runtime) in candidates.into_iter().enumerate() {
        let name = format!("walls: run in {}", runtime.as_deref().unwrap_or(&facts.default_runtime));
        // Jobs go on to the next one, where there is a next one.
        let unusable = |name: String, found: String, remedy: &str| match index == last {
            true => lacking(name, found, remedy),
            false => weak(name, found, remedy),
        };
        let walls = match engine.prove(runtime.as_deref()).await {
            Ok(walls) => walls,
            Err(error) => {
                let remedy = "No job is given to this runtime. Try `docker run --rm --network none --runtime NAME` with \
                              it; the Engine's log says more.";
                checks.push(unusable(name, error.to_string(), remedy));
                continue;
            }
        };
        let missing = missing(policy, &Asked::default(), &walls);
        if index == 0 {
            let builds: Vec<&str> = of(&missing, "for the build").collect();
            checks.push(match builds.as_slice() {
                [] => standing("walls: build".to_owned(), &walls.build),
                builds => lacking("walls: build", builds.join("; "), NOT_MET),
            });
        }
        let runs: Vec<&str> = of(&missing, "for the run").collect();
        if runs.is_empty() {
            checks.push(standing(name, &walls.run));
            break;
        }
        checks.push(unusable(name, runs.join("; "), NOT_MET));
    }
    checks
}

const NOT_MET: &str = "A probe ran in such a container and did not meet these walls, which the policy asks for. The \
                       checks above say how to switch them on.";

fn of<'a>(missing: &'a [String], stage: &'static str) -> impl Iterator<Item = &'a str> {
    missing
        .iter()
        .map(String::as_str)
        .filter(move |phrase| phrase.contains(stage))
}

fn standing(name: String, walls: &Walls) -> Check {
    let seen = walls.proven.values().filter(|proof| **proof == Proof::Seen).count();
    let found = format!(
        "level {}: {seen} walls met by a probe inside, {} told by the Engine",
        walls.level.map_or("none", Level::as_str),
        walls.proven.len() - seen,
    );
    if walls.level == Some(Level::Namespaces) {
        return weak(
            name,
            found,
            "Root inside is root outside. Switch on user namespaces (above), and for runs gVisor.",
        );
    }
    ok(name, found)
}
