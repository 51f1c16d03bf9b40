//! Puts ids of ours in the place of the names that the operator wrote, and refuses what is nobody's name.

use std::collections::BTreeMap;

use crate::{
    Policy, RuleLevel,
    expressions::PREFIX,
    is_fixed_rule,
    names::{Names, looks_like_a_check},
    parse::{Complaint, Step},
    rego::PREFIX as PREFIX_REGO,
};

/// Most wrong names that are answered with a similar one: each is compared with every name.
const MAX_GUESSES: usize = 100;

/// Resolves levels and waivers in place. Without `names` ids are only checked to look like one.
pub(crate) fn resolve(policy: &mut Policy, names: Option<&Names<'_>>) -> Resolved {
    let mut complaints = Vec::new();
    let level_names = levels(policy, names, &mut complaints);
    waivers(policy, names, &mut complaints);
    Resolved {
        complaints,
        level_names,
    }
}

/// What came of it.
pub(crate) struct Resolved {
    /// Names that cannot be used.
    pub(crate) complaints: Vec<Complaint>,
    /// The name by which each rule's level was set.
    pub(crate) level_names: BTreeMap<String, String>,
}

fn levels(policy: &mut Policy, names: Option<&Names<'_>>, complaints: &mut Vec<Complaint>) -> BTreeMap<String, String> {
    let mut guesses = MAX_GUESSES;
    let written = std::mem::take(&mut policy.analysis.levels);
    let mut through: BTreeMap<String, String> = BTreeMap::new();
    let mut resolved: BTreeMap<String, RuleLevel> = BTreeMap::new();
    for (name, level) in &written {
        let rules = meant(name, names);
        let mut complain = |message: String, remedy: String| {
            complaints.push(Complaint {
                path: vec![key("analysis"), key("levels"), key(name)],
                message,
                remedy: Some(remedy),
            });
        };
        if rules.is_empty() {
            let remedy = did_you_mean(name, names, "`seatrial rules` lists them", &mut guesses);
            complain(format!("there is no rule {}", name.escape_debug()), remedy);
            continue;
        }
        if let Some(fixed) = rules.iter().find(|rule| is_fixed_rule(rule))
            && *level != RuleLevel::Error
        {
            complain(
                format!(
                    "{} is always an error: what was not understood was not judged",
                    also(name, fixed)
                ),
                instead(&rules, "remove the line"),
            );
            continue;
        }
        for rule in rules {
            // A rule's own id says more than a name which several rules share.
            if rule != *name && written.contains_key(&rule) {
                continue;
            }
            if let Some(other) = through.get(&rule)
                && resolved.get(&rule) != Some(level)
            {
                complain(
                    format!("{rule} has two levels: {} sets another one", other.escape_debug()),
                    format!("set {rule} itself"),
                );
            }
            through.insert(rule.clone(), name.clone());
            resolved.insert(rule, *level);
        }
    }
    policy.analysis.levels = resolved;
    through
}

fn waivers(policy: &mut Policy, names: Option<&Names<'_>>, complaints: &mut Vec<Complaint>) {
    let mut guesses = MAX_GUESSES;
    for (index, waiver) in policy.waivers.iter_mut().enumerate() {
        let mut complain = |message: String, remedy: String| {
            complaints.push(Complaint {
                path: vec![key("waivers"), Step::Index(index), key("rule")],
                message,
                remedy: Some(remedy),
            });
        };
        let name = waiver.rule.as_str();
        let rules = meant(name, names);
        if let Some(fixed) = rules.iter().find(|rule| is_fixed_rule(rule)) {
            complain(
                format!(
                    "{} cannot be waived: what was not understood was not judged",
                    also(name, fixed)
                ),
                instead(&rules, "have the Dockerfile changed instead"),
            );
        } else if rules.is_empty() && !is_vulnerability(name) && !is_secret(name) && !name.starts_with(PREFIX) {
            let how = "write it like ST016, hadolint:DL3022, CVE-2023-45853 or secret:aws-access-key-id";
            complain(
                format!(
                    "{} is neither a rule nor a vulnerability nor a secret",
                    name.escape_debug()
                ),
                did_you_mean(name, names, how, &mut guesses),
            );
        }
        if waiver.matches.is_some()
            && let Some(rule) = rules.iter().find(|rule| is_of_scripts(rule))
        {
            complaints.push(Complaint {
                path: vec![key("waivers"), Step::Index(index), key("match")],
                message: format!(
                    "{} takes no match: what a script seems to run is up to who writes it",
                    also(name, rule)
                ),
                remedy: Some("leave match out to waive the rule everywhere".to_owned()),
            });
        }
        if rules != [name] {
            waiver.rules = rules;
        }
    }
}

/// Whether a rule says what a script does (ST400 to ST449). Its findings quote what the author wrote; that the script runs this and
/// nothing else, no reader of text can tell, and a waiver for one address would be a password for every other.
fn is_of_scripts(rule: &str) -> bool {
    rule.strip_prefix("ST4")
        .is_some_and(|rest| rest.starts_with(['0', '1', '2', '3', '4']))
}

/// The rules of ours that a name means.
pub(crate) fn meant(name: &str, names: Option<&Names<'_>>) -> Vec<String> {
    match names {
        // Which checks there are, only the checks themselves know.
        _ if name.len() > PREFIX_REGO.len() && name.starts_with(PREFIX_REGO) => vec![name.to_owned()],
        Some(names) => names.rules(name).iter().map(|&id| id.to_owned()).collect(),
        None if looks_like_ours(name) => vec![name.to_owned()],
        None => Vec::new(),
    }
}

fn looks_like_ours(name: &str) -> bool {
    name.len() == 5 && name.starts_with("ST") && name[2..].bytes().all(|byte| byte.is_ascii_digit())
}

fn also(name: &str, rule: &str) -> String {
    if name == rule {
        rule.to_owned()
    } else {
        format!("{} also means {rule}, which", name.escape_debug())
    }
}

/// What else to write when a name means a fixed rule and others.
fn instead(rules: &[String], otherwise: &str) -> String {
    let free: Vec<&str> = rules
        .iter()
        .map(String::as_str)
        .filter(|rule| !is_fixed_rule(rule))
        .collect();
    if free.is_empty() {
        return otherwise.to_owned();
    }
    format!("name the others: {}", free.join(", "))
}

fn did_you_mean(name: &str, names: Option<&Names<'_>>, otherwise: &str, guesses: &mut usize) -> String {
    let Some(left) = guesses.checked_sub(1) else {
        return otherwise.to_owned();
    };
    *guesses = left;
    match names.and_then(|names| names.similar(name)) {
        Some(similar) => format!("did you mean {similar}? Otherwise {otherwise}"),
        None => otherwise.to_owned(),
    }
}

fn key(text: &str) -> Step {
    Step::Key(text.to_owned())
}

/// `CVE-2023-1`, `GHSA-…`, `TEMP-…`: a word in capitals, a hyphen, the rest.
fn is_vulnerability(id: &str) -> bool {
    id.split_once('-').is_some_and(|(kind, rest)| {
        !looks_like_a_check(id)
            && !kind.is_empty()
            && kind.bytes().all(|byte| byte.is_ascii_uppercase())
            && !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'_'))
    })
}

fn is_secret(id: &str) -> bool {
    id.strip_prefix("secret:")
        .is_some_and(|rule| !rule.is_empty() && !rule.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use seatrial_core::finding::Level;

    use super::*;
    use crate::KnownRule;

    const KNOWN: &[KnownRule<'_>] = &[
        KnownRule {
            id: "ST040",
            level: Level::Error,
            aliases: &["hadolint:DL1000", "hadolint:DL3061"],
        },
        KnownRule {
            id: "ST101",
            level: Level::Warn,
            aliases: &["hadolint:DL3006", "trivy:DS-0001"],
        },
        KnownRule {
            id: "ST102",
            level: Level::Warn,
            aliases: &["hadolint:DL3007", "trivy:DS-0001", "hadolint:DL3061"],
        },
    ];

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn read(text: &str) -> Result<Policy, String> {
        Policy::parse_knowing(&format!("version = 1\n{text}"), now(), KNOWN).map_err(|error| error.to_string())
    }

    fn waive(rule: &str) -> String {
        format!("[[waivers]]\nrule = \"{rule}\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"\n")
    }

    #[test]
    fn a_waiver_by_another_tools_name_covers_all_that_it_means() {
        let policy = read(&waive("AVD-DS-0001")).unwrap();
        assert_eq!(policy.waivers[0].rule, "AVD-DS-0001");
        assert_eq!(policy.waivers[0].rules, ["ST101", "ST102"]);
        assert!(policy.waivers[0].covers("ST102", "") && !policy.waivers[0].covers("ST040", ""));
        assert!(read(&waive("ST101")).unwrap().waivers[0].rules.is_empty());
    }

    #[test]
    fn a_level_by_another_tools_name_is_set_for_all_and_a_rules_own_id_says_more() {
        let policy = read("[analysis.levels]\nDS-0001 = \"off\"\nST102 = \"error\"").unwrap();
        let set: Vec<_> = policy.analysis.levels.into_iter().collect();
        assert_eq!(
            set,
            [
                ("ST101".to_owned(), RuleLevel::Off),
                ("ST102".to_owned(), RuleLevel::Error)
            ]
        );
    }

    #[test]
    fn two_names_that_disagree_about_a_rule_are_refused() {
        let told = read("[analysis.levels]\nDL3006 = \"off\"\n\"trivy:DS-0001\" = \"error\"").unwrap_err();
        assert!(
            told.contains("line 4") && told.contains("ST101 has two levels: DL3006 sets another one"),
            "{told}"
        );
        assert!(read("[analysis.levels]\nDL3006 = \"off\"\n\"trivy:DS-0001\" = \"off\"").is_ok());
    }

    #[test]
    fn a_name_that_also_means_a_fixed_rule_is_refused_with_the_ones_to_write() {
        let told = read(&waive("DL3061")).unwrap_err();
        assert!(
            told.contains("DL3061 also means ST040, which cannot be waived") && told.contains("name the others: ST102"),
            "{told}"
        );
        let told = read("[analysis.levels]\nDL1000 = \"off\"").unwrap_err();
        assert!(
            told.contains("always an error") && told.contains("remove the line"),
            "{told}"
        );
    }

    #[test]
    fn an_unknown_name_points_into_the_file_and_at_the_one_that_was_meant() {
        let told = read(&waive("hadolint:DL3O06")).unwrap_err();
        assert!(told.contains("line 3, column 8"), "{told}");
        assert!(told.contains("did you mean hadolint:DL3006?"), "{told}");
        let told = read("[analysis.levels]\nDL30007 = \"warn\"").unwrap_err();
        assert!(told.contains("did you mean DL3007?"), "{told}");
    }

    #[test]
    fn a_misspelt_check_of_another_tool_is_not_taken_for_a_vulnerability() {
        for id in ["DS-9999", "AVD-DS-9999", "CKV-DOCKER-3", "CIS-DI-0099"] {
            assert!(read(&waive(id)).is_err(), "{id}");
        }
        assert!(read(&waive("CVE-2023-45853")).is_ok());
    }
}
