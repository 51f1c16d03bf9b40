//! What the operator allows, and the decisions that follow from it.
//!
//! This crate decides and never detects: findings come from `seatrial-dockerfile`, reports from the
//! scanner. Every decision names what blocked and what would change it. Three things no policy can
//! do, because they would turn "not checked" into "fine": lower or waive a rule that marks text
//! which was not understood ([`is_fixed_rule`]), pass an image by a database that is too old, pass
//! an image by a fixture database unless the caller says that this is a demonstration.
//!
//! Reading order: the types here, [`compose`], [`parse`], [`resolve`], [`validate`] and [`locks`] (texts to [`Policy`]),
//! [`bases`], [`egress`], [`findings`], [`expressions`], [`rego`], [`scan`], [`explain`](mod@explain).

mod bases;
mod compose;
mod egress;
pub mod explain;
pub mod expressions;
mod findings;
mod locks;
mod names;
mod parse;
pub mod rego;
mod resolve;
mod scan;
mod schema;
mod show;
mod validate;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use seatrial_core::{
    egress::{EgressLog, EgressRequest},
    finding::{Level, Severity},
    limits::Limits,
    walls::{Ask, Place},
};
use serde::{Deserialize, Serialize};

pub use self::{
    compose::{Composed, MAX_SOURCES, Origin, Source},
    egress::Egress,
    expressions::{Expression, Facts},
    findings::{Blocked, Judgement, Verdict, judge, judge_with, lets_pass},
    names::{KnownRule, UnknownRule, rules_called},
    parse::{PolicyError, Problem},
    rego::{Checked, Rego},
    scan::{DatabaseProblem, ScanJudgement, ScanVerdict, database_fresh, judge_scan},
    schema::json_schema,
};

/// The commented file whose values are [`Policy::default`].
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// What the operator allows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the file's format: 1.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// Keys and whole tables (`walls`, `vulnerabilities.block`) in which policy files after this one may be stricter
    /// and never weaker.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub locked: BTreeSet<String>,
    /// What findings do.
    #[serde(default)]
    pub analysis: Analysis,
    /// What passes nevertheless.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
    /// Conditions of the operator's own, in CEL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<Expression>,
    /// Checks in Rego, as Trivy and conftest run them.
    #[serde(default)]
    pub rego: Rego,
    /// Base images.
    #[serde(default)]
    pub bases: Bases,
    /// What the scanner's report does.
    #[serde(default)]
    pub vulnerabilities: Vulnerabilities,
    /// Network of the guest.
    #[serde(default)]
    pub network: Networks,
    /// What a stage with a way out may reach.
    #[serde(default)]
    pub egress: Egress,
    /// The run.
    #[serde(default)]
    pub run: Run,
    /// Least walls.
    #[serde(default)]
    pub walls: Walls,
    /// What a job may use.
    #[serde(default)]
    pub limits: Limits,
}

/// What findings do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Analysis {
    /// Findings at this level or above block.
    pub block: Level,
    /// Levels of single rules, by id; names of other tools stand for all that they mean.
    pub levels: BTreeMap<String, RuleLevel>,
}

/// A level, or not at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleLevel {
    /// The rule is not reported.
    Off,
    /// [`Level::Info`].
    Info,
    /// [`Level::Warn`].
    Warn,
    /// [`Level::Error`].
    Error,
}

impl RuleLevel {
    /// The level; `None` when off.
    #[must_use]
    pub fn level(self) -> Option<Level> {
        match self {
            Self::Off => None,
            Self::Info => Some(Level::Info),
            Self::Warn => Some(Level::Warn),
            Self::Error => Some(Level::Error),
        }
    }
}

/// Lets one known thing pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// A rule (`ST016`, or what another tool calls it: `hadolint:DL3022`), a vulnerability (`CVE-2023-45853`) or
    /// `secret:<scanner rule>`.
    #[schemars(length(min = 1))]
    pub rule: String,
    /// The rules of ours that `rule` stands for when it is another tool's name; found when the policy is read.
    #[serde(skip)]
    pub rules: Vec<String>,
    /// How that begins which a finding quotes first (with a backtick at its end: the whole of it); or how the package's name or the
    /// secret's path begins, or what is behind a `/` in it.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub matches: Option<String>,
    /// Why.
    #[schemars(length(min = 1))]
    pub reason: String,
    /// Who answers for it.
    #[schemars(length(min = 1))]
    pub owner: String,
    /// The last day on which it holds, in UTC.
    #[serde(deserialize_with = "parse::date")]
    #[schemars(schema_with = "schema::day")]
    pub expires: Date,
}

impl Waiver {
    /// Whether it still holds.
    #[must_use]
    pub fn holds_on(&self, today: Date) -> bool {
        today <= self.expires
    }

    /// Whether it is about this finding, whatever the day.
    #[must_use]
    pub fn covers(&self, rule: &str, message: &str) -> bool {
        self.names(rule) && self.matches.as_deref().is_none_or(|part| is_about(message, part))
    }

    /// Whether it is about this package or path with that vulnerability or secret, whatever the day.
    #[must_use]
    pub fn covers_value(&self, rule: &str, value: &str) -> bool {
        self.names(rule)
            && self
                .matches
                .as_deref()
                .is_none_or(|part| has_at_start(value, part, '/'))
    }

    fn names(&self, rule: &str) -> bool {
        self.rule == rule || self.rules.iter().any(|meant| meant == rule)
    }
}

/// Whether a message is about something that begins so: what it quotes first, or words of a message that quotes nothing.
/// Authors choose what is quoted, so that it may hold anything behind its beginning.
fn is_about(message: &str, part: &str) -> bool {
    match message.split_once('`') {
        Some((_, quoted)) => {
            let part = part.strip_prefix('`').unwrap_or(part);
            // Of several words the first may be what is waived and the second anything.
            let is_one = || {
                !quoted
                    .split('`')
                    .next()
                    .unwrap_or_default()
                    .contains(char::is_whitespace)
            };
            quoted.starts_with(part) && (part.ends_with('`') || is_one())
        }
        None => has_at_start(message, part, ' '),
    }
}

/// Whether a text has a part at its start or behind a separator.
fn has_at_start(text: &str, part: &str, separator: char) -> bool {
    let mut found = text.match_indices(part);
    found.any(|(at, _)| {
        text.get(..at)
            .is_some_and(|before| before.is_empty() || before.ends_with(separator))
    })
}

/// Base images.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bases {
    /// Patterns on completed names without tag and digest; `*` within one part, `**` across parts.
    pub allow: Vec<String>,
    /// Ask for a registry's digest.
    pub require_digest: bool,
    /// Allow bases with ONBUILD triggers.
    pub allow_onbuild: bool,
}

/// What the scanner's report does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vulnerabilities {
    /// Severity at or above which a vulnerability blocks.
    pub block: BlockSeverity,
    /// Do not block for what has no fix.
    pub ignore_unfixed: bool,
    /// What a secret does.
    pub secrets: SecretAction,
    /// An older database decides nothing.
    #[serde(with = "parse::days")]
    #[schemars(schema_with = "schema::age")]
    pub max_database_age: Duration,
}

/// From which severity on vulnerabilities block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockSeverity {
    /// They never do.
    None,
    /// Low and worse.
    Low,
    /// Medium and worse.
    Medium,
    /// High and worse.
    High,
    /// Critical only.
    Critical,
}

impl From<Level> for RuleLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

impl BlockSeverity {
    /// The higher, the more passes.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::Medium => 1,
            Self::High => 2,
            Self::Critical => 3,
            Self::None => 4,
        }
    }

    /// Whether a vulnerability of this severity blocks. One of unknown severity never does.
    #[must_use]
    pub fn blocks(self, severity: Severity) -> bool {
        let least = match self {
            Self::None => return false,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        };
        severity >= least
    }
}

/// What a secret in the image does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretAction {
    /// It blocks.
    Block,
    /// It is told.
    Warn,
}

/// Network of the guest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Networks {
    /// While building.
    #[serde(deserialize_with = "parse::network")]
    pub build: Network,
    /// While running.
    #[serde(deserialize_with = "parse::network")]
    pub run: Network,
}

/// A network: none, or a way out through our proxy. A container of a guest's has no other network than its
/// loopback in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// No network at all.
    #[default]
    None,
    /// What `[egress]` allows, through the proxy.
    Egress,
}

/// The run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Who the guest is: `uid:gid`.
    #[schemars(regex(pattern = r"^[1-9][0-9]*:[1-9][0-9]*$"))]
    pub user: String,
}

/// Least walls: an Engine with weaker ones gets no work.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Walls {
    /// User namespaces are a must, around build and run.
    pub user_namespace: bool,
    /// Levels (`userns`) and single walls (`user-namespace`) that a build must have.
    #[schemars(schema_with = "seatrial_core::schema::walls")]
    pub build: BTreeSet<Ask>,
    /// Levels (`gvisor`) and single walls (`own-kernel`) that a run must have.
    #[schemars(schema_with = "seatrial_core::schema::walls")]
    pub run: BTreeSet<Ask>,
}

impl Walls {
    /// What is asked for around a stage.
    #[must_use]
    pub fn at(&self, place: Place) -> &BTreeSet<Ask> {
        match place {
            Place::Build => &self.build,
            Place::Run => &self.run,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version: 1,
            locked: BTreeSet::new(),
            analysis: Analysis::default(),
            waivers: Vec::new(),
            expressions: Vec::new(),
            rego: Rego::default(),
            bases: Bases::default(),
            vulnerabilities: Vulnerabilities::default(),
            network: Networks::default(),
            egress: Egress::default(),
            run: Run::default(),
            walls: Walls::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            block: Level::Error,
            levels: BTreeMap::new(),
        }
    }
}

impl Default for Bases {
    fn default() -> Self {
        Self {
            allow: vec!["docker.io/library/*".to_owned()],
            require_digest: false,
            allow_onbuild: false,
        }
    }
}

impl Default for Vulnerabilities {
    fn default() -> Self {
        Self {
            block: BlockSeverity::High,
            ignore_unfixed: true,
            secrets: SecretAction::Block,
            max_database_age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            user: "65532:65532".to_owned(),
        }
    }
}

impl Policy {
    /// Reads a policy. Rule ids are only checked to look like one.
    ///
    /// # Errors
    /// Every problem of the file, with its place.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, PolicyError> {
        let alone = Source { name: "", text };
        compose::compose(&[alone], now, None, None).map(|composed| composed.policy)
    }

    /// The same, resolves names of other tools, and refuses rules that do not exist: a misspelt waiver would
    /// otherwise only be noticed when it does not help.
    ///
    /// # Errors
    /// Every problem of the file, with its place.
    pub fn parse_knowing(text: &str, now: Timestamp, known_rules: &[KnownRule<'_>]) -> Result<Self, PolicyError> {
        let alone = Source { name: "", text };
        Self::compose(&[alone], now, known_rules).map(|composed| composed.policy)
    }

    /// Makes one policy of several files, the base first: later ones say the last word, except where an earlier one
    /// locks it. Without any file it is the default.
    ///
    /// # Errors
    /// Every problem of the files, with its file and place.
    pub fn compose(
        sources: &[Source<'_>],
        now: Timestamp,
        known_rules: &[KnownRule<'_>],
    ) -> Result<Composed, PolicyError> {
        compose::compose(sources, now, Some(&names::Names::new(known_rules)), None)
    }

    /// The same, and reads the files of checks that the policy names. Without a reader a policy with checks denies.
    ///
    /// # Errors
    /// Every problem of the files, with its file and place.
    pub fn compose_reading(
        sources: &[Source<'_>],
        now: Timestamp,
        known_rules: &[KnownRule<'_>],
        reader: rego::Reader<'_>,
    ) -> Result<Composed, PolicyError> {
        compose::compose(sources, now, Some(&names::Names::new(known_rules)), Some(reader))
    }

    /// Waivers that have run out.
    pub fn expired_waivers(&self, now: Timestamp) -> impl Iterator<Item = &Waiver> {
        let today = utc_date(now);
        self.waivers.iter().filter(move |waiver| !waiver.holds_on(today))
    }

    /// Whether a base image may be used; `name` is completed (`docker.io/library/debian:12`).
    /// Patterns are matched on the name without tag and digest. What is not a completed name is
    /// never allowed.
    #[must_use]
    pub fn base_allowed(&self, name: &str) -> bool {
        bases::allowed(&self.bases.allow, name)
    }

    /// What a stage with this network may reach, written down in `seen`; `None` without a way out.
    #[must_use]
    pub fn way_out(&self, network: Network, seen: EgressLog) -> Option<EgressRequest> {
        match network {
            Network::None => None,
            Network::Egress => Some(EgressRequest {
                allow: self.egress.allow.clone(),
                also: self.egress.also.clone(),
                resolver: self.egress.resolver,
                bytes: self.egress.bytes.as_u64(),
                requests: self.egress.requests,
                seen,
            }),
        }
    }

    /// The policy in force as a TOML text, every value spelled out.
    #[must_use]
    pub fn to_toml(&self) -> String {
        show::to_toml(self)
    }
}

/// Whether a rule marks text that was not understood, or that cannot be built with one meaning.
/// Such a rule is always an error and cannot be waived. Checks of the operator's that could not be worked out are one.
#[must_use]
pub fn is_fixed_rule(id: &str) -> bool {
    id == "ST040" || id == rego::FAILED || id == expressions::FAILED || (id.len() == 5 && id.starts_with("ST09"))
}

/// The day in UTC, which is the one that waivers count in.
#[must_use]
pub fn utc_date(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}
