//! A base policy and what overrides it, to one policy.
//!
//! Whoever starts Seatrial names the files, the base first. No file names another one: what a lock in the base is
//! worth does then not hang on an override's goodwill, and there are no paths to resolve and no circles.
//!
//! Tables merge key by key; waivers, expressions and files of checks append; any other value takes the place of the one before. Each file is judged
//! for itself first, so that a problem is told where it stands.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatrial_core::finding::Span;
use serde::Deserialize as _;
use toml::{Table, Value, de::DeTable};

use crate::{
    Policy, PolicyError, Problem, expressions, locks,
    names::Names,
    parse::{self, Complaint, Step},
    rego, resolve, show, utc_date, validate,
};

/// Most files that make one policy.
pub const MAX_SOURCES: usize = 8;

/// A policy file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What messages call it; empty when there is only one and everybody knows which.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// A policy, and where each of its values comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Composed {
    /// The policy.
    pub policy: Policy,
    /// One for each value, in the order in which the policy is shown.
    pub origins: Vec<Origin>,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Origin {
    /// `limits.run.memory`.
    pub path: String,
    /// As TOML.
    pub value: String,
    /// The file; `None` is the default.
    pub file: Option<String>,
    /// 1-based line in it.
    pub line: Option<usize>,
}

/// A file that was read.
pub(crate) struct Layer<'a> {
    pub(crate) source: Source<'a>,
    document: Option<toml::Spanned<DeTable<'a>>>,
    policy: Policy,
    table: Table,
    /// The name by which each level was set.
    level_names: BTreeMap<String, String>,
}

impl Layer<'_> {
    /// The place of a path, when the file has all of it.
    pub(crate) fn place(&self, path: &[Step]) -> Option<Span> {
        let (span, depth) = self.nearest(path);
        (depth == path.len()).then_some(span)
    }

    fn nearest(&self, path: &[Step]) -> (Span, usize) {
        self.document
            .as_ref()
            .map_or_else(Default::default, |root| parse::find(root.get_ref(), path))
    }

    /// The line on which a key is locked.
    pub(crate) fn lock(&self, lock: &str) -> Option<usize> {
        let position = match self.table.get("locked") {
            Some(Value::Array(items)) => items.iter().position(|item| item.as_str() == Some(lock))?,
            _ => return None,
        };
        let span = self.place(&[Step::Key("locked".to_owned()), Step::Index(position)])?;
        Some(self.line(span))
    }

    /// The place of a value of the whole; `before` is the policy of the files before this one.
    pub(crate) fn first_place(&self, before: &Policy, path: &[Step]) -> Span {
        if let [Step::Key(list), Step::Index(index), ..] = path
            && list == "waivers"
        {
            let own = Step::Index(index.saturating_sub(before.waivers.len()));
            return self.nearest(&[Step::Key(list.clone()), own]).0;
        }
        written_at(self, path).unwrap_or_else(|| self.nearest(path).0)
    }

    pub(crate) fn line(&self, span: Span) -> usize {
        parse::line(self.source.text, span)
    }
}

pub(crate) fn compose(
    sources: &[Source<'_>],
    now: Timestamp,
    names: Option<&Names<'_>>,
    reader: Option<rego::Reader<'_>>,
) -> Result<Composed, PolicyError> {
    if sources.len() > MAX_SOURCES {
        return Err(alone(format!("a policy is made of at most {MAX_SOURCES} files")));
    }
    let mut layers = Vec::new();
    let mut problems = Vec::new();
    for &source in sources {
        match read(source, names, reader) {
            Ok(layer) => layers.push(layer),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(PolicyError { problems });
    }
    let mut merged = Table::new();
    let mut policy = Policy::default();
    for (index, layer) in layers.iter().enumerate() {
        let before = std::mem::take(&mut policy);
        merge(&mut merged, layer.table.clone());
        policy = add(&before, layer, &merged)?;
        if index > 0 {
            problems.extend(locks::broken(&layers[..=index], &before, &policy, names));
        }
    }
    let complaints = validate::validate(&policy, utc_date(now));
    problems.extend(complaints.into_iter().map(|complaint| placed(&layers, complaint)));
    if !problems.is_empty() {
        return Err(PolicyError { problems });
    }
    let origins = origins(&policy, &layers);
    Ok(Composed { policy, origins })
}

fn alone(message: String) -> PolicyError {
    PolicyError {
        problems: vec![Problem {
            file: String::new(),
            line: 1,
            column: 1,
            span: Span::default(),
            message,
            remedy: None,
        }],
    }
}

fn read<'a>(
    source: Source<'a>,
    names: Option<&Names<'_>>,
    reader: Option<rego::Reader<'_>>,
) -> Result<Layer<'a>, Vec<Problem>> {
    let mut policy: Policy = toml::from_str(source.text).map_err(|refusal| vec![parse::refused(source, &refusal)])?;
    let table: Table = toml::from_str(source.text).map_err(|refusal| vec![parse::refused(source, &refusal)])?;
    let resolved = resolve::resolve(&mut policy, names);
    let mut complaints = resolved.complaints;
    complaints.extend(locks::unknown(&policy, names));
    complaints.extend(expressions::compile(&mut policy));
    complaints.extend(rego::read(&mut policy.rego, source, reader));
    let layer = Layer {
        source,
        document: DeTable::parse(source.text).ok(),
        policy,
        table,
        level_names: resolved.level_names,
    };
    if complaints.is_empty() {
        return Ok(layer);
    }
    let at = |complaint: Complaint| {
        let (span, _) = layer.nearest(&complaint.path);
        parse::problem(source, span, complaint.message, complaint.remedy)
    };
    Err(complaints.into_iter().map(at).collect())
}

/// Keys of a table one by one; what is no table on both sides is replaced.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// The policy of all files so far. What is resolved or appended goes from value to value; the rest is read again.
fn add(before: &Policy, layer: &Layer<'_>, merged: &Table) -> Result<Policy, PolicyError> {
    let mut table = merged.clone();
    for appended in ["waivers", "expressions", "locked"] {
        table.remove(appended);
    }
    if let Some(Value::Table(analysis)) = table.get_mut("analysis") {
        analysis.remove("levels");
    }
    if let Some(Value::Table(rego)) = table.get_mut("rego") {
        rego.remove("files");
    }
    // Each file was read for itself, so this one can be as well; a failure would be a defect of the merge.
    let mut policy = Policy::deserialize(Value::Table(table))
        .map_err(|why| alone(format!("the files do not fit together: {why}")))?;
    policy.analysis.levels = before.analysis.levels.clone();
    policy.analysis.levels.extend(layer.policy.analysis.levels.clone());
    policy.waivers = [&before.waivers[..], &layer.policy.waivers].concat();
    policy.expressions = [&before.expressions[..], &layer.policy.expressions].concat();
    let rego = &mut policy.rego;
    (rego.files, rego.texts) = (before.rego.files.clone(), before.rego.texts.clone());
    rego::join(&mut rego.files, layer.policy.rego.files.clone());
    rego::join(&mut rego.texts, layer.policy.rego.texts.clone());
    policy.locked = &before.locked | &layer.policy.locked;
    Ok(policy)
}

/// A complaint about the whole, at the last file that says something about it.
fn placed(layers: &[Layer<'_>], complaint: Complaint) -> Problem {
    let Complaint { path, message, remedy } = complaint;
    if let Some((layer, path)) = appended(layers, &path) {
        let (span, _) = layer.nearest(&path);
        return parse::problem(layer.source, span, message, remedy);
    }
    let nearest = layers
        .iter()
        .map(|layer| (layer.nearest(&path), layer))
        .max_by_key(|((_, depth), _)| *depth);
    match nearest {
        Some(((span, _), layer)) => parse::problem(layer.source, span, message, remedy),
        None => Problem {
            remedy,
            ..alone(message).problems.swap_remove(0)
        },
    }
}

/// The file and the path in it of an entry of a list that appends.
fn appended<'l, 'a>(layers: &'l [Layer<'a>], path: &[Step]) -> Option<(&'l Layer<'a>, Vec<Step>)> {
    let [Step::Key(list), Step::Index(index), rest @ ..] = path else {
        return None;
    };
    let count_in = |layer: &Layer<'_>| match list.as_str() {
        "waivers" => Some(layer.policy.waivers.len()),
        "expressions" => Some(layer.policy.expressions.len()),
        _ => None,
    };
    let mut left = *index;
    for layer in layers {
        let count = count_in(layer)?;
        if left < count {
            let head = [Step::Key(list.clone()), Step::Index(left)];
            return Some((layer, head.into_iter().chain(rest.iter().cloned()).collect()));
        }
        left -= count;
    }
    None
}

/// Lists of single words to which each file adds.
const GATHERED: [&str; 2] = ["locked", "rego.files"];

fn origins(policy: &Policy, layers: &[Layer<'_>]) -> Vec<Origin> {
    let mut leaves = Vec::new();
    if let Ok(value) = show::to_value(policy) {
        flatten(&value, &mut Vec::new(), &mut leaves);
    }
    let origin = |(path, value): (Vec<Step>, String)| {
        let words = parse::words(&path);
        let all: Vec<&str> = layers
            .iter()
            .filter(|layer| GATHERED.contains(&words.as_str()) && written_at(layer, &path).is_some())
            .map(|layer| layer.source.name)
            .collect();
        if all.len() > 1 {
            return Origin {
                path: words,
                value,
                file: Some(all.join(", ")),
                line: None,
            };
        }
        let found = match appended(layers, &path) {
            Some((layer, path)) => Some((layer, layer.nearest(&path).0)),
            None => layers
                .iter()
                .rev()
                .find_map(|layer| Some((layer, written_at(layer, &path)?))),
        };
        Origin {
            path: words,
            value,
            file: found.map(|(layer, _)| layer.source.name.to_owned()),
            line: found.map(|(layer, span)| layer.line(span)),
        }
    };
    let mut origins: Vec<Origin> = leaves.into_iter().map(origin).collect();
    // What the files of checks say is a part of the policy: another text is another policy.
    for text in &policy.rego.texts {
        let read = layers.iter().find(|layer| layer.policy.rego.texts.contains(text));
        let files = parse::steps("rego.files");
        origins.push(Origin {
            path: format!("rego.files {}", text.name),
            value: text.digest().to_string(),
            file: read.map(|layer| layer.source.name.to_owned()),
            line: read.and_then(|layer| Some(layer.line(layer.place(&files)?))),
        });
    }
    origins
}

/// Where a file sets a value, also when it does so by another name of a rule.
pub(crate) fn written_at(layer: &Layer<'_>, path: &[Step]) -> Option<Span> {
    if let [analysis, levels, Step::Key(rule)] = path
        && parse::words(&[analysis.clone(), levels.clone()]) == "analysis.levels"
    {
        let name = layer.level_names.get(rule)?;
        return layer.place(&[analysis.clone(), levels.clone(), Step::Key(name.clone())]);
    }
    layer.place(path)
}

/// Values that are no tables, with their paths; an entry of a list of tables is one value.
fn flatten(value: &Value, path: &mut Vec<Step>, leaves: &mut Vec<(Vec<Step>, String)>) {
    let steps: Vec<(Step, &Value)> = match value {
        Value::Table(table) if !matches!(path.last(), Some(Step::Index(_))) => table
            .iter()
            .map(|(key, inner)| (Step::Key(key.clone()), inner))
            .collect(),
        Value::Array(items) if items.first().is_some_and(Value::is_table) => items
            .iter()
            .enumerate()
            .map(|(index, inner)| (Step::Index(index), inner))
            .collect(),
        _ => {
            leaves.push((path.clone(), value.to_string()));
            return;
        }
    };
    for (step, inner) in steps {
        path.push(step);
        flatten(inner, path, leaves);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use seatrial_core::finding::Level;

    use super::*;
    use crate::{BlockSeverity, KnownRule, RuleLevel};

    const KNOWN: &[KnownRule<'_>] = &[
        KnownRule {
            id: "ST003",
            level: Level::Error,
            aliases: &[],
        },
        KnownRule {
            id: "ST101",
            level: Level::Warn,
            aliases: &["hadolint:DL3006", "trivy:DS-0001"],
        },
    ];

    const WAIVER: &str = "[[waivers]]\nrule = \"ST003\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"\n";

    fn both(base: &str, over: &str) -> Result<Composed, String> {
        let (base, over) = (format!("version = 1\n{base}\n"), format!("version = 1\n{over}\n"));
        let sources = [("base.toml", &base), ("over.toml", &over)].map(|(name, text)| Source { name, text });
        Policy::compose(&sources, "2026-11-23T12:00:00Z".parse().unwrap(), KNOWN).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_merge_by_key_waivers_append_and_other_lists_replace() {
        let base = format!(
            "[bases]\nallow = [\"quay.io/**\"]\nrequire_digest = true\n[limits.run]\nmemory = \"1GiB\"\npids = 9\n{WAIVER}"
        );
        let over = format!("[bases]\nallow = [\"ghcr.io/a/*\"]\n[limits.run]\npids = 7\n{WAIVER}");
        let policy = both(&base, &over).unwrap().policy;
        assert_eq!(policy.bases.allow, ["ghcr.io/a/*"]);
        assert!(policy.bases.require_digest);
        assert_eq!(
            (policy.limits.run.pids, policy.limits.run.memory.as_u64()),
            (7, 1 << 30)
        );
        assert_eq!(policy.waivers.len(), 2);
    }

    #[test]
    fn a_level_by_another_name_overrides_the_one_of_the_base() {
        let policy = both(
            "[analysis.levels]\nST101 = \"error\"\nST003 = \"warn\"",
            "[analysis.levels]\nDL3006 = \"off\"",
        )
        .unwrap()
        .policy;
        assert_eq!(policy.analysis.levels["ST101"], RuleLevel::Off);
        assert_eq!(policy.analysis.levels["ST003"], RuleLevel::Warn);
    }

    #[test]
    fn a_problem_is_told_with_the_file_that_it_is_in() {
        let told = both("[bases]\nalow = []", "[run]\nusr = 1").unwrap_err();
        assert!(
            told.contains("base.toml: line 3, column 1") && told.contains("over.toml: line 3, column 1"),
            "{told}"
        );
        let told = both("[limits.build]\nstore = \"3GiB\"", "[limits.build]\nmemory = \"1GiB\"").unwrap_err();
        assert!(
            told.contains("base.toml: line 3, column 9: it is more than limits.build.memory"),
            "{told}"
        );
        let endless = WAIVER.replace("2027", "2047");
        let told = both(WAIVER, &format!("\n{endless}")).unwrap_err();
        assert!(
            told.contains("over.toml: line 7, column 11: a waiver ends within two years"),
            "{told}"
        );
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let origins = both(
            "[vulnerabilities]\nblock = \"low\"\n[analysis.levels]\nDL3006 = \"error\"",
            &format!("[limits.run]\npids = 7\n{WAIVER}"),
        )
        .unwrap()
        .origins;
        let at = |path: &str| {
            let origin = origins.iter().find(|origin| origin.path == path).unwrap();
            (origin.value.as_str(), origin.file.as_deref(), origin.line)
        };
        assert_eq!(at("vulnerabilities.block"), ("\"low\"", Some("base.toml"), Some(3)));
        assert_eq!(at("analysis.levels.ST101"), ("\"error\"", Some("base.toml"), Some(5)));
        assert_eq!(at("limits.run.pids"), ("7", Some("over.toml"), Some(3)));
        assert_eq!(at("limits.run.tmp"), ("\"64MiB\"", None, None));
        assert_eq!((at("waivers.0").1, at("waivers.0").2), (Some("over.toml"), Some(4)));
    }

    #[test]
    fn what_a_base_locks_may_become_stricter_and_never_weaker() {
        let base = "locked = [\"walls\", \"vulnerabilities.block\"]\n[vulnerabilities]\nblock = \"medium\"\n[walls]\nrun = [\"userns\"]";
        let told = both(base, "[vulnerabilities]\nblock = \"none\"").unwrap_err();
        assert_eq!(
            told,
            "over.toml: line 3, column 9: vulnerabilities.block is locked and may only become stricter: \"medium\" \
             (base.toml, line 4) would become \"none\" (remove it, make it stricter (a list: without a new entry), or have vulnerabilities.block taken \
             out of `locked` (base.toml, line 2))"
        );
        let told = both(base, "[walls]\nrun = []").unwrap_err();
        assert!(told.contains("walls.run is locked"), "{told}");
        let stricter = both(
            base,
            "[vulnerabilities]\nblock = \"low\"\n[walls]\nrun = [\"userns\", \"gvisor\"]",
        )
        .unwrap();
        assert_eq!(stricter.policy.vulnerabilities.block, BlockSeverity::Low);
        assert_eq!(stricter.policy.locked.len(), 2);
        let free = both(
            base,
            "[vulnerabilities]\nignore_unfixed = false\n[limits.run]\npids = 1000",
        )
        .unwrap();
        assert_eq!(free.policy.limits.run.pids, 1000);
    }

    #[test]
    fn a_lock_by_another_tools_name_of_a_rule_holds_and_one_of_no_rule_is_refused() {
        let base = "locked = [\"analysis.levels.DL3006\"]\n[analysis.levels]\nDL3006 = \"error\"";
        for over in ["ST101 = \"warn\"", "DL3006 = \"off\""] {
            let told = both(base, &format!("[analysis.levels]\n{over}")).unwrap_err();
            assert!(told.contains("analysis.levels.ST101 is locked"), "{told}");
        }
        assert!(both(base, "[analysis.levels]\nST003 = \"warn\"").is_ok());
        let told = both("locked = [\"analysis.levels.DL30006\"]", "").unwrap_err();
        assert!(told.contains("did you mean analysis.levels.DL3006?"), "{told}");
    }

    #[test]
    fn locked_conditions_cannot_be_waived_and_a_list_that_files_gather_names_all_of_them() {
        let condition = "[[expressions]]\nname = \"no\"\nwhen = \"true\"\nmessage = \"m\"\nowner = \"o\"\n";
        let waiver = WAIVER.replace("ST003", "expression:no");
        assert!(waiver.contains("expression:no"));
        let told = both(&format!("locked = [\"expressions\"]\n{condition}"), &waiver).unwrap_err();
        assert!(
            told.contains("waivers.0 is locked") && told.contains("a waiver of expression:no"),
            "{told}"
        );
        assert!(both(condition, &waiver).is_ok());
        let origins = both("locked = [\"run\"]", "locked = [\"walls\"]").unwrap().origins;
        let locked = origins.iter().find(|origin| origin.path == "locked").unwrap();
        assert_eq!(
            (locked.file.as_deref(), locked.line),
            (Some("base.toml, over.toml"), None)
        );
    }

    #[test]
    fn a_lock_holds_for_what_the_base_leaves_at_its_default() {
        let told = both("locked = [\"limits.run\"]", "[limits.run]\nmemory = \"1GiB\"").unwrap_err();
        assert!(told.contains("512MiB (the default) would become 1GiB"), "{told}");
        assert!(both("locked = [\"limits.run\"]", "[limits.run]\nmemory = \"256MiB\"").is_ok());
    }

    #[test]
    fn locked_findings_can_neither_be_lowered_nor_waived() {
        let base = "locked = [\"analysis\", \"waivers\"]\n[analysis.levels]\nST101 = \"error\"";
        for weaker in [
            "[analysis]\nblock = \"error\"\n[analysis.levels]\nDL3006 = \"warn\"",
            "[analysis.levels]\nST003 = \"warn\"",
            WAIVER,
        ] {
            let told = both(base, weaker).unwrap_err();
            assert!(
                told.contains("over.toml: line ") && told.contains("is locked"),
                "{told}"
            );
        }
        assert!(
            both(
                base,
                "[analysis]\nblock = \"warn\"\n[analysis.levels]\nST003 = \"error\""
            )
            .is_ok()
        );
        let lowered = both(
            "locked = [\"analysis.block\"]\n[analysis]\nblock = \"warn\"",
            "[analysis]\nblock = \"error\"",
        );
        assert!(lowered.unwrap_err().contains("analysis.block is locked"));
    }

    #[test]
    fn an_override_cannot_unlock_and_a_lock_of_nothing_is_refused() {
        let told = both(
            "locked = [\"walls\"]\n[walls]\nuser_namespace = true",
            "locked = []\n[walls]\nuser_namespace = false",
        );
        assert!(told.unwrap_err().contains("walls.user_namespace is locked"));
        let told = both("locked = [\"vulnerabilites\"]", "").unwrap_err();
        assert!(told.contains("did you mean vulnerabilities?"), "{told}");
    }

    #[test]
    fn every_key_of_a_policy_can_be_locked_by_its_own_name() {
        let keys: Vec<String> = both("", "")
            .unwrap()
            .origins
            .into_iter()
            .map(|origin| origin.path)
            .collect();
        for key in keys {
            assert!(both(&format!("locked = [\"{key}\"]"), "").is_ok(), "{key}");
        }
    }

    #[test]
    fn no_more_files_than_people_can_follow() {
        let sources = [Source {
            name: "a",
            text: "version = 1",
        }; MAX_SOURCES + 1];
        assert!(Policy::compose(&sources, Timestamp::UNIX_EPOCH, KNOWN).is_err());
        let none = Policy::compose(&[], Timestamp::UNIX_EPOCH, KNOWN).unwrap();
        assert_eq!(none.policy, Policy::default());
    }
}
