//! Conditions that an operator writes himself, in CEL, over what was found and what the file is.
//!
//! CEL has no endless loops, and still: each level of nested loops multiplies, and `+` in a loop doubles texts and
//! lists. So an expression is priced before it is taken: the language is cut down to what compares, loops have known
//! lengths since all that is looked at is bounded, and what could cost more than [`MAX_COST`] is refused when the policy
//! is read. What cannot be worked out when a file is judged (a key that is missing, a result that is neither true nor
//! false) denies, with the reason.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cel::{Context, Program, Value};
use schemars::JsonSchema;
use seatrial_core::finding::{Finding, Level, Span};
use serde::{Deserialize, Serialize};

use crate::{
    Checked, Policy,
    parse::{Complaint, Step},
    schema,
};

mod price;

pub use self::price::MAX_COST;

/// Most expressions of a policy.
pub const MAX_EXPRESSIONS: usize = 32;
/// Longest expression, in bytes: the parser's stack depends on it.
pub const MAX_LENGTH: usize = 1024;
/// Most findings, bases and labels that expressions look at.
pub(crate) const MAX_FINDINGS: usize = 256;
pub(crate) const MAX_BASES: usize = 32;
pub(crate) const MAX_LABELS: usize = 64;
/// Longest text that expressions look at, in bytes: a longer base or label cannot be worked out, a longer message is cut.
const MAX_TEXT: usize = 1024;
/// What the rule of a finding by an expression begins with.
pub const PREFIX: &str = "expression:";

/// The rule of a condition that could not be worked out: it blocks, and no waiver helps.
pub const FAILED: &str = "expression:failed";

/// A condition of the operator's own: where it holds, there is a finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// Its name; the finding's rule is `expression:NAME`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,62}$"))]
    pub name: String,
    /// In CEL: true where something is wrong. It sees `findings` (each with `rule`, `level`, `line`, `message`,
    /// `waived`), `bases`, `labels`, `counts` (of instructions, by keyword in lower case) and `bytes`.
    #[schemars(length(min = 1, max = 1024))]
    pub when: String,
    /// The finding's level; it blocks as findings of that level do.
    #[serde(default = "error")]
    pub level: Level,
    /// What the author is told.
    #[schemars(length(min = 1))]
    pub message: String,
    /// Who answers for it.
    #[schemars(length(min = 1))]
    pub owner: String,
    /// Made when the policy is read.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) compiled: Compiled,
}

fn error() -> Level {
    Level::Error
}

impl Expression {
    /// The rule of its findings.
    #[must_use]
    pub fn rule(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

/// An expression that was taken. Two are the same when their texts are.
#[derive(Clone, Default)]
pub(crate) struct Compiled(Option<Arc<Program>>);

impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Compiled {}

impl fmt::Debug for Compiled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "compiled" } else { "not compiled" })
    }
}

/// What expressions see of a file beside its findings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Facts {
    /// Its length.
    pub bytes: u64,
    /// Completed names of bases, without stages and `scratch`.
    pub bases: Vec<String>,
    /// Labels of the final stage as the file alone decides them; `None` where a value is not decided by it.
    pub labels: BTreeMap<String, Option<String>>,
    /// How many instructions there are, by keyword in lower case.
    pub counts: BTreeMap<String, u64>,
    /// What came of the checks in Rego; expressions see it among the findings.
    #[serde(skip)]
    pub checked: Checked,
}

/// Compiles all expressions of a policy, in place.
pub(crate) fn compile(policy: &mut Policy) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, expression) in policy.expressions.iter_mut().enumerate() {
        let mut complain = |key: &str, message: String, remedy: &str| {
            complaints.push(Complaint {
                path: vec![
                    Step::Key("expressions".to_owned()),
                    Step::Index(index),
                    Step::Key(key.to_owned()),
                ],
                message,
                remedy: Some(remedy.to_owned()),
            });
        };
        if !schema::is_name(&expression.name) {
            let remedy = "write 1 to 63 of a-z, 0-9 and -, and begin with a letter or digit";
            complain(
                "name",
                format!("'{}' is no name", expression.name.escape_debug()),
                remedy,
            );
        }
        if expression.rule() == FAILED {
            complain(
                "name",
                "`failed` is what a condition is called that cannot be worked out".to_owned(),
                "choose another name",
            );
        }
        for (article, key, text) in [
            ("a", "message", &expression.message),
            ("an", "owner", &expression.owner),
        ] {
            if text.trim().is_empty() {
                complain(key, format!("an expression needs {article} {key}"), "say it in words");
            }
        }
        if index >= MAX_EXPRESSIONS {
            complain(
                "name",
                format!("there are more than {MAX_EXPRESSIONS} expressions"),
                "join some with ||",
            );
            break;
        }
        match program(&expression.when) {
            Ok((program, _)) => expression.compiled = Compiled(Some(Arc::new(program))),
            Err(why) => complain(
                "when",
                why,
                "write a condition in CEL, such as: findings.exists(f, f.rule == 'ST015' && f.line > 10)",
            ),
        }
    }
    complaints
}

/// The price of all expressions together, where they can be read.
pub(crate) fn price(policy: &Policy) -> u64 {
    let programs = policy
        .expressions
        .iter()
        .filter_map(|expression| program(&expression.when).ok());
    programs.map(|(_, price)| price).sum()
}

/// The program of a text, and what it may cost.
fn program(text: &str) -> Result<(Program, u64), String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("an expression has at most {MAX_LENGTH} bytes"));
    }
    price::shallow(text)?;
    let program = Program::compile(text).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || "it is no CEL".to_owned(),
            |error| {
                let words: String = error.msg.split_whitespace().collect::<Vec<_>>().join(" ");
                let words: String = words.chars().take(160).collect();
                format!(
                    "it is no CEL, at its character {}: {words}",
                    error.pos.1.saturating_add(1).max(1)
                )
            },
        )
    })?;
    let price = price::price(&program.expression().expr)?;
    Ok((program, price))
}

/// Works all expressions out. `findings` are at the policy's levels, each with whether it is waived.
pub(crate) fn held(policy: &Policy, findings: &[(Finding, bool)], facts: Option<&Facts>) -> Vec<Finding> {
    if policy.expressions.is_empty() {
        return Vec::new();
    }
    let context = facts
        .ok_or_else(|| "nothing is known here of what it looks at".to_owned())
        .and_then(|facts| context(findings, facts));
    let hold = |expression: &Expression| {
        let result = match &context {
            Ok((context, unknown)) => work_out(expression, context, unknown),
            Err(why) => Err(why.clone()),
        };
        let (message, level, failed) = match result {
            Ok(false) => return None,
            Ok(true) => (expression.message.clone(), expression.level, false),
            Err(why) => (
                format!(
                    "the operator's condition {} cannot be worked out: {why}",
                    expression.name
                ),
                Level::Error,
                true,
            ),
        };
        let finding = Finding {
            rule: if failed {
                FAILED.into()
            } else {
                expression.rule().into()
            },
            level,
            line: 1,
            column: 1,
            span: Span::default(),
            message,
            remedy: format!(
                "Change what it is about, or ask {}, who answers for this condition.",
                expression.owner
            )
            .into(),
            fix: None,
        };
        Some(finding)
    };
    policy.expressions.iter().filter_map(hold).collect()
}

fn work_out(expression: &Expression, context: &Context<'_, '_>, unknown: &Unknown) -> Result<bool, String> {
    let own;
    let program = match &expression.compiled.0 {
        Some(program) => &**program,
        // A policy that was made by hand.
        None => {
            own = program(&expression.when)?.0;
            &own
        }
    };
    let references = program.references();
    if let Some((_, why)) = unknown.iter().find(|(name, _)| references.has_variable(name)) {
        return Err(why.clone());
    }
    match program.execute(context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("it is neither true nor false but {}", other.type_of())),
        Err(why) => Err(cut(&why.to_string(), 160)),
    }
}

#[derive(Serialize)]
struct Seen<'a> {
    rule: &'a str,
    level: Level,
    line: usize,
    message: String,
    waived: bool,
}

/// Variables of which not all is known, and why: an expression that looks at one cannot be worked out.
type Unknown = Vec<(&'static str, String)>;

fn context(findings: &[(Finding, bool)], facts: &Facts) -> Result<(Context<'static, 'static>, Unknown), String> {
    let mut unknown = Unknown::new();
    for (what, count, most) in [
        ("findings", findings.len(), MAX_FINDINGS),
        ("bases", facts.bases.len(), MAX_BASES),
        ("labels", facts.labels.len(), MAX_LABELS),
    ] {
        if count > most {
            let why = format!("the file has {count} {what}, and conditions look at {most} at most");
            unknown.push((what, why));
        }
    }
    let seen: Vec<Seen<'_>> = findings
        .iter()
        .take(MAX_FINDINGS)
        .map(|(finding, waived)| Seen {
            rule: &finding.rule,
            level: finding.level,
            line: finding.line,
            message: cut(&finding.message, MAX_TEXT),
            waived: *waived,
        })
        .collect();
    let is_short = |text: &str| text.len() <= MAX_TEXT;
    let (bases, long): (Vec<&String>, Vec<_>) = facts.bases.iter().partition(|base| is_short(base));
    if !long.is_empty() {
        unknown.push(("bases", format!("a base's name has more than {MAX_TEXT} bytes")));
    }
    let mut labels = BTreeMap::new();
    for (key, value) in &facts.labels {
        let shown = cut(key, 80);
        match value {
            None => unknown.push((
                "labels",
                format!("the file does not decide the value of the label {shown}"),
            )),
            Some(value) if is_short(key) && is_short(value) => {
                labels.insert(key, value);
            }
            Some(_) => unknown.push(("labels", format!("the label {shown} has more than {MAX_TEXT} bytes"))),
        }
    }
    let mut context = Context::default();
    let cannot = |_| "it cannot be shown what it looks at".to_owned();
    context.add_variable("findings", seen).map_err(cannot)?;
    context.add_variable("bases", bases).map_err(cannot)?;
    context.add_variable("labels", labels).map_err(cannot)?;
    context.add_variable("counts", &facts.counts).map_err(cannot)?;
    context.add_variable("bytes", facts.bytes).map_err(cannot)?;
    Ok((context, unknown))
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests;
