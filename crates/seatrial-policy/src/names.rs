//! Names of rules, ours and those of other tools, to rules of ours.
//!
//! A team that comes from another tool has its ids in its files and in its head, so waivers and levels take them.
//! They are resolved once, when the policy is read: what decides later sees ids of ours alone.

use std::collections::BTreeMap;

use seatrial_core::finding::Level;

/// Longest name for which a similar one is looked for.
const MAX_NAME: usize = 64;
/// Most edits between a name and the one that may have been meant.
const MAX_EDITS: usize = 2;

/// A rule that there is.
#[derive(Clone, Copy, Debug)]
pub struct KnownRule<'a> {
    /// `ST016`.
    pub id: &'a str,
    /// Its level without any policy.
    pub level: Level,
    /// The same rule in other tools: `hadolint:DL3022`.
    pub aliases: &'a [&'a str],
}

/// Every name that a rule has.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    rules: BTreeMap<String, Vec<&'a str>>,
    levels: BTreeMap<&'a str, Level>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(known: &[KnownRule<'a>]) -> Self {
        let mut rules: BTreeMap<String, Vec<&'a str>> = BTreeMap::new();
        for rule in known {
            let names = rule.aliases.iter().flat_map(|alias| spellings(alias));
            for name in names.chain([rule.id.to_owned()]) {
                let meant = rules.entry(name).or_default();
                if !meant.contains(&rule.id) {
                    meant.push(rule.id);
                }
            }
        }
        let levels = known.iter().map(|rule| (rule.id, rule.level)).collect();
        Self { rules, levels }
    }

    /// The rules of ours that a name stands for; none when nobody has it.
    pub(crate) fn rules(&self, name: &str) -> &[&'a str] {
        self.rules.get(name).map_or(&[], Vec::as_slice)
    }

    /// The level of a rule of ours without any policy.
    pub(crate) fn level(&self, id: &str) -> Option<Level> {
        self.levels.get(id).copied()
    }

    /// The name that may have been meant.
    pub(crate) fn similar(&self, name: &str) -> Option<&str> {
        similar(name, self.rules.keys().map(String::as_str))
    }
}

/// Nobody's rule has this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no rule {}{}", name.escape_debug(), similar.as_ref().map(|similar| format!("; did you mean {similar}?")).unwrap_or_default())]
pub struct UnknownRule {
    /// The name.
    pub name: String,
    /// One that may have been meant.
    pub similar: Option<String>,
}

/// The rules of ours that a name of ours or of another tool stands for.
///
/// # Errors
/// There is none.
pub fn rules_called<'a>(known: &[KnownRule<'a>], name: &str) -> Result<Vec<&'a str>, UnknownRule> {
    let names = Names::new(known);
    let rules = names.rules(name);
    if rules.is_empty() {
        return Err(UnknownRule {
            name: name.to_owned(),
            similar: names.similar(name).map(str::to_owned),
        });
    }
    Ok(rules.to_vec())
}

/// The nearest of some names, when it is near enough to have been meant.
pub(crate) fn similar<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let folded = name.to_ascii_lowercase();
    let most = MAX_EDITS.min(name.len() / 3);
    names
        .map(|known| (strsim::osa_distance(&folded, &known.to_ascii_lowercase()), known))
        .filter(|(edits, _)| *edits <= most)
        .min_by_key(|(edits, known)| (*edits, known.len().abs_diff(name.len())))
        .map(|(_, known)| known)
}

/// The ways in which people write an id of another tool: with the tool, without it, and as older versions of it did.
fn spellings(alias: &str) -> Vec<String> {
    let Some((tool, plain)) = alias.split_once(':') else {
        return vec![alias.to_owned()];
    };
    let mut plains = vec![plain.to_owned()];
    if tool == "trivy" && plain.starts_with("DS-") {
        plains.push(format!("AVD-{plain}"));
        // `DS002`, as Trivy wrote it for years.
        if let Some(number) = plain.strip_prefix("DS-0") {
            plains.push(format!("DS{number}"));
        }
    }
    let with_tool = plains.iter().map(|plain| format!("{tool}:{plain}"));
    let mut all: Vec<String> = with_tool.collect();
    all.extend(plains);
    all
}

/// Whether this looks like the id of somebody's check: such a word is never taken for a vulnerability, whose ids look
/// alike, since a misspelt one would then waive nothing without a word.
pub(crate) fn looks_like_a_check(name: &str) -> bool {
    ["AVD-", "DS-", "DKL-", "CIS-", "CKV", "DL-", "SC-", "ST-"]
        .iter()
        .any(|start| name.starts_with(start))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rules without other names.
    pub(crate) fn known<'a>(ids: &[&'a str]) -> Vec<KnownRule<'a>> {
        ids.iter()
            .map(|&id| KnownRule {
                id,
                level: Level::Error,
                aliases: &[],
            })
            .collect()
    }

    const KNOWN: &[KnownRule<'_>] = &[
        KnownRule {
            id: "ST101",
            level: Level::Warn,
            aliases: &["hadolint:DL3006", "trivy:DS-0001", "checkov:CKV_DOCKER_7"],
        },
        KnownRule {
            id: "ST102",
            level: Level::Warn,
            aliases: &["hadolint:DL3007", "trivy:DS-0001", "buildkit:InvalidBaseImagePlatform"],
        },
    ];

    #[test]
    fn an_alias_is_known_with_and_without_its_tool_and_as_older_versions_wrote_it() {
        let names = Names::new(KNOWN);
        for one in [
            "ST101",
            "hadolint:DL3006",
            "DL3006",
            "CKV_DOCKER_7",
            "checkov:CKV_DOCKER_7",
        ] {
            assert_eq!(names.rules(one), ["ST101"], "{one}");
        }
        for both in ["trivy:DS-0001", "DS-0001", "AVD-DS-0001", "trivy:AVD-DS-0001", "DS001"] {
            assert_eq!(names.rules(both), ["ST101", "ST102"], "{both}");
        }
        assert_eq!(names.rules("InvalidBaseImagePlatform"), ["ST102"]);
        for none in ["", "hadolint:", "trivy:DL3006", "dl3006", "ST1"] {
            assert!(names.rules(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let names = Names::new(KNOWN);
        assert_eq!(names.similar("dl3006"), Some("DL3006"));
        assert_eq!(names.similar("DL30006"), Some("DL3006"));
        assert_eq!(
            names.similar("invalidbaseimageplatfrom"),
            Some("InvalidBaseImagePlatform")
        );
        assert_eq!(names.similar("nothing like it"), None);
        assert_eq!(names.similar(&"x".repeat(100_000)), None);
        assert_eq!(names.similar(""), None);
    }
}
