//! Judged text -> `Resolved`: names become images, what needs their facts is judged, and the text
//! that will really be built is rendered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatrial_core::{
    engine::{Engine, EngineFacts},
    image::BaseImage,
    job::{Outcome, Reason},
    scanner::Database,
    view::BaseView,
    walls::Asked,
};
use seatrial_dockerfile::{
    self as dockerfile, Parsed,
    lower::{self, LoweredBase, Plan},
};
use seatrial_policy::{self as policy, Policy};
use tokio::time::timeout;

use super::walls;
use crate::{
    admission,
    case::{RESOLVE_TIME, Settings, Walk},
    fault::Stop,
    room::{self, Promise, Room},
};

/// What will be built, on what, and with which walls and database.
pub struct Resolved {
    /// The rendering and what it must give.
    pub plan: Plan,
    /// Bases, each once.
    pub bases: Vec<BaseImage>,
    /// The one under the final stage, in `bases`; `None` for `scratch`.
    pub final_base: Option<usize>,
    /// The database that the scan will use: checked for age before anything is built.
    pub database: Database,
    /// The walls of the trial.
    pub chosen: walls::Chosen,
    /// The disk that it may fill; `None` where the disk is not seen from here.
    pub room: Option<Promise>,
}

impl Resolved {
    /// The base under the final stage.
    #[must_use]
    pub fn base(&self) -> Option<&BaseImage> {
        self.final_base.and_then(|index| self.bases.get(index))
    }
}

/// Resolves, within a bound of time.
///
/// # Errors
/// A rejection (base not allowed, triggers in it, form that is not built), or the host's.
pub async fn resolve(walk: &Walk<'_>, parsed: &Parsed) -> Result<Resolved, Stop> {
    timeout(RESOLVE_TIME, resolve_within(walk, parsed))
        .await
        .unwrap_or_else(|_| {
            Err(Outcome::timed_out(
                Reason::RegistryGone,
                "Fetching the base images took longer than 10 minutes.",
            )
            .with_remedy("Load the base images into the Engine beforehand, then submit the job again.")
            .into())
        })
}

/// Why a base may not be used under a policy, waivers and levels included. Admission has said the same of the text; here is
/// where the name is used.
fn refusal(policy: &Policy, name: &str) -> Option<Outcome> {
    let context = dockerfile::rules::Context {
        allowed: &|name| policy.base_allowed(name),
        pinned: policy.bases.require_digest,
    };
    let finding = dockerfile::rules::base_finding(name, &context)?;
    if policy::lets_pass(policy, &finding, Timestamp::now()) {
        return None;
    }
    let message = format!("The policy refuses a base image: {}.", finding.message);
    let allowed = policy.bases.allow.join(", ");
    let remedy = format!("{} The policy allows: {allowed}.", finding.remedy);
    Some(Outcome::rejected(Reason::BaseRefused, message).with_remedy(remedy))
}

async fn resolve_within(walk: &Walk<'_>, parsed: &Parsed) -> Result<Resolved, Stop> {
    let ports = walk.ports;
    let rules = &walk.case.settings.policy;
    let (facts, database) = tokio::try_join!(async { ports.engine.probe().await.map_err(Stop::from) }, async {
        ports.scanner.database().await.map_err(Stop::from)
    },)?;
    let chosen = fit(
        &walk.case.settings,
        &*ports.engine,
        &facts,
        &database,
        &walk.case.submission.walls,
    )
    .await?;
    let room = match ports.engine.free_disk(&facts) {
        Some(free) => Some(ports.room.promise(room::need(rules), free).map_err(Stop::from)?),
        None => None,
    };

    let wanted = lower::base_references(parsed).map_err(|findings| rejected(walk, findings))?;
    let mut bases: Vec<BaseImage> = Vec::new();
    let mut lowered = BTreeMap::new();
    for base_use in wanted {
        let name = base_use.reference;
        if lowered.contains_key(&name) {
            continue;
        }
        if let Some(refusal) = refusal(rules, &name) {
            return Err(refusal.into());
        }
        let base = ports.engine.prepare_base(&name).await?;
        if !base.config.on_build.is_empty() && !rules.bases.allow_onbuild {
            return Err(Outcome::rejected(
                Reason::BaseRefused,
                format!(
                    "The base image {name} brings {} ONBUILD trigger(s) that are not in the Dockerfile.",
                    base.config.on_build.len()
                ),
            )
            .with_remedy("Use a base without ONBUILD, or have the operator set bases.allow_onbuild.")
            .into());
        }
        lowered.insert(
            name,
            LoweredBase {
                reference: base.id.hex(),
                config: base.config.clone(),
            },
        );
        if !bases.iter().any(|known| known.id == base.id) {
            bases.push(base);
        }
    }
    let plan = lower::lower(parsed, &lowered).map_err(|findings| rejected(walk, findings))?;
    if plan.config.entrypoint.is_empty() && plan.config.cmd.is_empty() {
        return Err(Outcome::failed(
            Reason::CannotStart,
            "Neither the Dockerfile nor its base says what to run.",
        )
        .with_remedy("Give the image a CMD or an ENTRYPOINT.")
        .into());
    }
    let final_base = plan
        .final_base
        .as_ref()
        .and_then(|reference| bases.iter().position(|base| base.id.hex() == *reference));
    if let Some(base) = final_base.and_then(|index| bases.get(index)) {
        ports.scanner.prepare_base(base, &database).await?;
    }
    Ok(Resolved {
        plan,
        bases,
        final_base,
        database,
        chosen,
        room,
    })
}

fn rejected(walk: &Walk<'_>, findings: Vec<seatrial_core::finding::Finding>) -> Stop {
    admission::reject(walk.case, findings).into()
}

/// Whether an Engine and a database may be used at all, and the walls that it has: asked before each trial, and by a
/// worker before it takes one.
///
/// # Errors
/// [`Stop::Settled`] says what is missing; [`Stop::Host`] is the Engine's.
pub async fn fit(
    settings: &Settings,
    engine: &dyn Engine,
    facts: &EngineFacts,
    database: &Database,
    asked: &Asked,
) -> Result<walls::Chosen, Stop> {
    database_suffices(settings, database)?;
    if let Some(free) = engine.free_disk(facts) {
        Room::default().promise(room::need(&settings.policy), free)?;
    }
    walls::choose(engine, settings, facts, asked).await
}

fn database_suffices(settings: &Settings, database: &Database) -> Result<(), Stop> {
    policy::database_fresh(
        &settings.policy,
        database,
        settings.fixture_database,
        jiff::Timestamp::now(),
    )
    .map_err(|problem| {
        Outcome::errored(Reason::DatabaseStale, problem.to_string())
            .with_remedy("Get a new one with `seatrial db update`.")
            .into()
    })
}

/// What is told of a base.
#[must_use]
pub fn view(base: &BaseImage) -> BaseView {
    BaseView {
        name: base.name.clone(),
        id: base.id,
        repo_digest: base.repo_digest.clone(),
        user: base.config.user.clone(),
    }
}
