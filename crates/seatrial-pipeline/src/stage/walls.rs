//! Which walls a trial gets: the strongest that this Engine was proven to have, and at least what policy and
//! submitter ask for.

use std::collections::BTreeSet;

use seatrial_core::{
    engine::{Engine, EngineError, EngineFacts},
    job::{Outcome, Reason},
    walls::{Ask, Asked, Level, Place, Wall, WallSet, Walled, Walls},
};

use seatrial_policy::Policy;

use crate::{case::Settings, fault::Stop};

/// The walls of a trial.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What stands.
    pub walls: Walled<Walls>,
    /// The runtime of the run; `None` leaves it to the Engine.
    pub runtime: Option<String>,
}

/// Proves walls, the strongest runtime first, until some suffice.
///
/// # Errors
/// [`Stop::Settled`] says what is missing; [`Stop::Host`] when the Engine cannot start a container of ours.
pub async fn choose(
    engine: &dyn Engine,
    settings: &Settings,
    facts: &EngineFacts,
    asked: &Asked,
) -> Result<Chosen, Stop> {
    let mut candidates = candidates(settings.runtime.as_deref(), &facts.runtimes);
    let last = candidates.pop().flatten();
    for runtime in candidates {
        match engine.prove(runtime.as_deref()).await {
            Ok(walls) if missing(&settings.policy, asked, &walls).is_empty() && own_kernel(&walls) => {
                return Ok(Chosen { walls, runtime });
            }
            Ok(_) => tracing::warn!(runtime, "a runtime does not give the walls that its name promises"),
            // It gave its walls before: nobody who may count on them gets weaker ones because an Engine is slow.
            Err(error @ (EngineError::Stumbled(_) | EngineError::Unreachable(_))) => return Err(error.into()),
            Err(error) => tracing::warn!(
                runtime,
                error = &error as &dyn std::error::Error,
                "a runtime does not give the walls that its name promises"
            ),
        }
    }
    let walls = engine.prove(last.as_deref()).await?;
    suffice(&settings.policy, asked, &walls)?;
    Ok(Chosen { walls, runtime: last })
}

/// Whether walls are what policy and submitter ask for.
///
/// # Errors
/// [`Stop::Settled`] says what is missing.
pub fn suffice(policy: &Policy, asked: &Asked, walls: &Walled<Walls>) -> Result<(), Stop> {
    let missing = missing(policy, asked, walls);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Outcome::errored(
        Reason::WallsTooWeak,
        format!("The Engine lacks walls that are asked for: {}.", missing.join("; ")),
    )
    .with_remedy("`seatrial doctor` says how to switch each of them on.")
    .into())
}

/// What is asked for and does not stand, as phrases: `gvisor for the run (own-kernel was not met)`.
#[must_use]
pub fn missing(policy: &Policy, asked: &Asked, walls: &Walled<Walls>) -> Vec<String> {
    let rules = &policy.walls;
    let mut missing = Vec::new();
    for place in [Place::Build, Place::Run] {
        let mut asks = BTreeSet::from([Ask::Level(Level::Namespaces)]);
        asks.extend(rules.at(place));
        asks.extend(asked.at(place));
        if rules.user_namespace {
            asks.insert(Ask::Wall(Wall::UserNamespace));
        }
        let standing = walls.at(place);
        for ask in asks {
            let lacking = standing.lacking(&ask.walls(place));
            // A stronger level has walls of its own in the place of a weaker one's.
            let reached = match ask {
                Ask::Level(level) => standing.level >= Some(highest(level, place)),
                Ask::Wall(_) => lacking.is_empty(),
            };
            if !reached {
                missing.push(phrase(ask, place, &lacking));
            }
        }
    }
    missing
}

fn phrase(ask: Ask, place: Place, lacking: &WallSet) -> String {
    let mut phrase = format!("{ask} for the {}", place.as_str());
    if let Ask::Level(_) = ask {
        let names: Vec<&str> = lacking.iter().map(|wall| wall.as_str()).collect();
        phrase.push_str(&match names.as_slice() {
            [] => " (the runtime is another one)".to_owned(),
            names => format!(" ({} was not met)", names.join(", ")),
        });
    }
    phrase
}

/// What a level can mean for a stage: there is no build beyond user namespaces.
fn highest(level: Level, place: Place) -> Level {
    match place {
        Place::Build => level.min(Level::Userns),
        Place::Run => level,
    }
}

fn own_kernel(walls: &Walled<Walls>) -> bool {
    walls.run.proven.contains_key(&Wall::OwnKernel)
}

/// The runtimes that are tried for a run, in this order: the one that the operator names, else all that
/// promise something.
#[must_use]
pub fn candidates(named: Option<&str>, runtimes: &[String]) -> Vec<Option<String>> {
    match named {
        Some(name) => vec![Some(name.to_owned())],
        None => strongest_first(runtimes),
    }
}

/// Runtimes whose names promise a kernel of their own, machines first; then the Engine's default one. Whether a name
/// keeps its promise, a probe finds out.
fn strongest_first(runtimes: &[String]) -> Vec<Option<String>> {
    let named = |prefixes: &'static [&'static str]| {
        runtimes
            .iter()
            .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .cloned()
            .map(Some)
    };
    named(&["kata", "io.containerd.kata"])
        .chain(named(&["runsc", "gvisor", "io.containerd.runsc"]))
        .chain([None])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_with_a_kernel_of_their_own_come_first_and_plain_ones_are_left_to_the_engine() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let order = |runtimes: &[&str]| strongest_first(&names(runtimes));
        assert_eq!(
            order(&["io.containerd.runc.v2", "kata-fc", "runc", "runsc"]),
            [Some("kata-fc".to_owned()), Some("runsc".to_owned()), None]
        );
        assert_eq!(order(&["crun", "runc"]), [None]);
    }

    use seatrial_core::testing::Fake;

    fn settings() -> Settings {
        Settings {
            policy: Policy::default(),
            fixture_database: true,
            runtime: None,
            attempts: 1,
            sbom: false,
            config_checks: false,
        }
    }

    /// The runtime that is chosen, or what is said.
    async fn chosen(fake: &Fake, settings: &Settings, run: &[&str]) -> Result<Option<String>, String> {
        let facts = fake.probe().await.unwrap();
        let asked = Asked {
            run: run.iter().map(|word| word.parse().unwrap()).collect(),
            ..Asked::default()
        };
        match choose(fake, settings, &facts, &asked).await {
            Ok(chosen) => Ok(chosen.runtime),
            Err(Stop::Settled(outcome)) => Err(outcome.message),
            Err(Stop::Host(fault)) => Err(fault.outcome().message),
        }
    }

    fn with_runtimes(runtimes: &[&str]) -> Fake {
        let fake = Fake::default();
        fake.script().runtimes = runtimes.iter().map(|name| (*name).to_owned()).collect();
        fake
    }

    #[tokio::test]
    async fn a_runtime_without_the_kernel_that_its_name_promises_is_passed_over() {
        let fake = with_runtimes(&["kata", "runsc"]);
        assert_eq!(chosen(&fake, &settings(), &[]).await.unwrap().as_deref(), Some("kata"));
        fake.script().pretenders = vec!["kata".to_owned()];
        assert_eq!(chosen(&fake, &settings(), &[]).await.unwrap().as_deref(), Some("runsc"));
        fake.script().pretenders.push("runsc".to_owned());
        assert_eq!(chosen(&fake, &settings(), &[]).await.unwrap(), None);
        let refused = chosen(&fake, &settings(), &["gvisor"]).await.unwrap_err();
        assert!(
            refused.contains("gvisor for the run (own-kernel was not met)"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_runtime_that_fails_where_it_worked_before_is_not_replaced_by_a_weaker_one() {
        let fake = with_runtimes(&["runsc"]);
        fake.script()
            .prove_errors
            .push_back(EngineError::Stumbled("slow".to_owned()));
        assert!(chosen(&fake, &settings(), &[]).await.is_err());
        fake.script()
            .prove_errors
            .push_back(EngineError::WallMissing("never".to_owned()));
        assert_eq!(chosen(&fake, &settings(), &[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_policy_or_job_asks_for_is_needed_also_of_the_runtime_that_the_operator_names() {
        let fake = with_runtimes(&["runsc"]);
        let mut plain = settings();
        plain.runtime = Some("runc".to_owned());
        fake.script().pretenders = vec!["runc".to_owned()];
        assert_eq!(
            chosen(&fake, &plain, &["userns"]).await.unwrap().as_deref(),
            Some("runc")
        );
        assert!(chosen(&fake, &plain, &["own-kernel"]).await.is_err());
        plain.policy.walls.run = ["gvisor".parse().unwrap()].into();
        assert!(chosen(&fake, &plain, &[]).await.is_err());
    }
}
