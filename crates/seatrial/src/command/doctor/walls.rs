//! The walls of this Engine, met by a probe in a container of each kind.

use seatrial_core::{
    engine::{Engine, EngineFacts},
    walls::{Asked, Level, Proof, Walls},
};
use seatrial_pipeline::stage::walls::missing;
use seatrial_policy::Policy;

use super::{Check, missing as lacking, ok, weak};

/// A check for builds, and one for runs in each runtime that work may be given to.
pub(super) async fn proven(
    engine: &dyn Engine,
    facts: &EngineFacts,
    pinned: Option<&str>,
    policy: &Policy,
) -> Vec<Check> {
    let mut runtimes = vec![pinned.map(str::to_owned)];
    if pinned.is_none() {
        let own_kernel = |name: &&String| ["runsc", "gvisor", "kata"].iter().any(|part| name.contains(part));
        runtimes.extend(facts.runtimes.iter().filter(own_kernel).cloned().map(Some));
    }
    let mut checks = Vec::new();
    for runtime in runtimes {
        let name = format!("walls: run in {}", runtime.as_deref().unwrap_or(&facts.default_runtime));
        let walls = match engine.prove(runtime.as_deref()).await {
            Ok(walls) => walls,
            Err(error) => {
                let remedy = "No job is given to this runtime. Try `docker run --rm --network none --runtime NAME` with it; \
                              the Engine's log says more.";
                let check = match runtime {
                    // The default one does the work then.
                    Some(_) if pinned.is_none() => weak(name, error.to_string(), remedy),
                    _ => lacking(name, error.to_string(), remedy),
                };
                checks.push(check);
                continue;
            }
        };
        let missing = missing(policy, &Asked::default(), &walls);
        if checks.is_empty() {
            checks.push(told("walls: build".to_owned(), &walls.build, &missing, "for the build"));
        }
        checks.push(told(name, &walls.run, &missing, "for the run"));
    }
    checks
}

fn told(name: String, walls: &Walls, missing: &[String], stage: &str) -> Check {
    let missing: Vec<&str> = missing
        .iter()
        .map(String::as_str)
        .filter(|phrase| phrase.contains(stage))
        .collect();
    if !missing.is_empty() {
        return lacking(
            name,
            missing.join("; "),
            "A probe ran in such a container and did not meet these walls; jobs are refused. The checks above say how \
             to switch each of them on.",
        );
    }
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
