//! What the doctor says of known holes: a table that is data, and the versions that it finds.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use seatrial_core::engine::{EngineFacts, ToolImage};
use seatrial_engine::DockerEngine;
use serde::Deserialize;

use super::{Check, missing, ok, versions::Version, weak};

const TABLE: &str = include_str!("advisories.toml");
/// Longest wait for a runtime's program to tell its version.
const ANSWER: Duration = Duration::from_secs(10);

/// What may have holes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Component {
    Engine,
    Containerd,
    Runc,
    Buildah,
    Trivy,
    Gvisor,
    Kata,
    Kernel,
}

impl Component {
    /// The check's name.
    fn check(self) -> &'static str {
        match self {
            Self::Engine => "holes: engine",
            Self::Containerd => "holes: containerd",
            Self::Runc => "holes: runc",
            Self::Buildah => "holes: buildah",
            Self::Trivy => "holes: trivy",
            Self::Gvisor => "holes: gvisor",
            Self::Kata => "holes: kata",
            Self::Kernel => "holes: kernel",
        }
    }
}

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    hole: Vec<Hole>,
}

/// One row; `advisories.toml` says what each field is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hole {
    component: Component,
    cves: Vec<String>,
    #[serde(default)]
    fixed: Vec<String>,
    #[serde(default)]
    bad: Vec<String>,
    from: Option<String>,
    applies: String,
    source: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for whoever updates the table"))]
    note: Option<String>,
}

/// How a version stands to a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Good,
    /// Older than what repaired it.
    Behind,
    /// Must not be used.
    Bad,
}

impl Hole {
    fn standing(&self, version: &Version) -> Standing {
        let all = |texts: &[String]| texts.iter().filter_map(|text| Version::find(text)).collect::<Vec<_>>();
        if all(&self.bad).iter().any(|bad| version.is(bad)) {
            return Standing::Bad;
        }
        let unjudged = self.from.as_deref().and_then(Version::find);
        if unjudged.is_some_and(|from| version.is_of_older_line_than(&from)) {
            return Standing::Good;
        }
        let fixed = all(&self.fixed);
        if fixed.is_empty() || version.is_repaired(&fixed) {
            Standing::Good
        } else {
            Standing::Behind
        }
    }
}

fn table() -> Vec<Hole> {
    // A test reads it too, so that it is never broken here.
    toml::from_str::<Table>(TABLE)
        .map(|table| table.hole)
        .unwrap_or_default()
}

/// A check for each component of which a version is known, or should be.
pub(super) async fn checks(engine: &DockerEngine, facts: &EngineFacts, is_local: bool) -> Vec<Check> {
    let holes = table();
    let mut checks = Vec::new();
    let told = engine.versions().await.unwrap_or_default();
    let component = |name: &str| told.components.get(name).cloned().unwrap_or_default();
    checks.push(judge(&holes, Component::Engine, &facts.version));
    checks.push(judge(&holes, Component::Containerd, &component("containerd")));
    checks.push(judge(&holes, Component::Runc, &component("runc")));
    for (image, program, which) in [
        (ToolImage::Builder, "buildah", Component::Buildah),
        (ToolImage::Scanner, "/usr/local/bin/trivy", Component::Trivy),
    ] {
        // An image that cannot be used has a check of its own.
        if let Ok(text) = engine.tool_version(image, program).await {
            checks.push(judge(&holes, which, &text));
        }
    }
    for (which, text) in runtimes(&told.runtimes, is_local).await {
        checks.push(judge(&holes, which, &text));
    }
    checks.push(judge(&holes, Component::Kernel, &facts.kernel));
    checks
}

/// What the programs of gVisor and Kata say: they are run only where the Engine's host is this one.
async fn runtimes(paths: &BTreeMap<String, String>, is_local: bool) -> Vec<(Component, String)> {
    let mut found = Vec::new();
    for (which, sign) in [(Component::Gvisor, "runsc"), (Component::Kata, "kata")] {
        let Some((_, path)) = paths
            .iter()
            .find(|(name, path)| name.contains(sign) || path.contains(sign))
        else {
            continue;
        };
        found.push((which, if is_local { said(path).await } else { String::new() }));
    }
    found
}

/// The first line that a runtime prints; empty when it prints none.
async fn said(path: &str) -> String {
    // A bare name is found by the Engine, whose search path is not ours.
    if !Path::new(path).is_absolute() {
        return String::new();
    }
    let asked = tokio::process::Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or_default().chars().take(200).collect()
        }
        _ => String::new(),
    }
}

fn judge(holes: &[Hole], component: Component, text: &str) -> Check {
    let name = component.check();
    let about: Vec<&Hole> = holes.iter().filter(|hole| hole.component == component).collect();
    let Some(version) = Version::find(text) else {
        return weak(
            name,
            "no version can be told, so its known holes cannot be compared",
            format!(
                "Look yourself: {}.",
                about.iter().map(|hole| in_short(hole)).collect::<Vec<_>>().join("; ")
            ),
        );
    };
    let shown = text.lines().next().unwrap_or_default().trim();
    let that_are = |wanted| -> Vec<&Hole> {
        let those = about.iter().filter(|hole| hole.standing(&version) == wanted);
        those.copied().collect()
    };
    let bad = that_are(Standing::Bad);
    if let Some(hole) = bad.first() {
        return missing(name, format!("{shown}: {}", hole.cves.join(", ")), hole.applies.clone());
    }
    let behind = that_are(Standing::Behind);
    if behind.is_empty() {
        return ok(name, format!("{shown}: past the known ones ({})", about.len()));
    }
    let words: Vec<String> = behind
        .iter()
        .map(|hole| format!("{}: {}", hole.cves.join(", "), hole.applies))
        .collect();
    let detail = if version.packaged {
        format!(
            "{shown} is behind upstream; your distribution may have fixed it. {}",
            words.join(" ")
        )
    } else {
        format!("{shown} is behind. {}", words.join(" "))
    };
    let sources: Vec<String> = behind.iter().map(|hole| in_short(hole)).collect();
    let remedy = if version.packaged {
        format!(
            "Compare your distribution's security tracker, or update: {}.",
            sources.join("; ")
        )
    } else {
        format!("Update: {}.", sources.join("; "))
    };
    weak(name, detail, remedy)
}

/// `CVE-1 in 1.2.8, 1.3.3 (source)`.
fn in_short(hole: &Hole) -> String {
    let cure = if hole.fixed.is_empty() {
        format!("never {}", hole.bad.join(", "))
    } else {
        format!("fixed in {}", hole.fixed.join(", "))
    };
    format!("{} {cure} ({})", hole.cves.join(", "), hole.source)
}

#[cfg(test)]
mod tests {
    use super::{super::Health, *};

    #[test]
    fn every_row_of_the_table_can_be_read_and_has_a_source() {
        let table: Table = toml::from_str(TABLE).unwrap();
        assert!(table.hole.len() >= 10);
        for hole in &table.hole {
            let at = hole.cves.join(" ");
            assert!(
                !hole.cves.is_empty() && hole.cves.iter().all(|cve| cve.starts_with("CVE-")),
                "{at}"
            );
            assert!(hole.source.starts_with("https://"), "{at} has no source");
            assert!(hole.applies.ends_with('.') && hole.applies.len() > 20, "{at}");
            assert!(!hole.fixed.is_empty() || !hole.bad.is_empty(), "{at}");
            let mut lines = Vec::new();
            for text in hole.fixed.iter().chain(&hole.bad).chain(&hole.from) {
                let version = Version::find(text).unwrap_or_else(|| panic!("{at}: {text}"));
                assert!(!version.packaged, "{at}: {text} is a distribution's");
            }
            for text in &hole.fixed {
                let line: Vec<&str> = text.split('.').take(2).collect();
                assert!(!lines.contains(&line), "{at}: two first good versions of one line");
                lines.push(line);
            }
            assert!(hole.note.as_ref().is_none_or(|note| !note.is_empty()), "{at}");
        }
        for component in [
            Component::Engine,
            Component::Containerd,
            Component::Runc,
            Component::Buildah,
            Component::Trivy,
            Component::Gvisor,
            Component::Kata,
            Component::Kernel,
        ] {
            assert!(
                table.hole.iter().any(|hole| hole.component == component),
                "{component:?}"
            );
        }
    }

    #[test]
    fn a_host_that_is_behind_is_told_the_hole_what_it_means_and_the_cure() {
        let holes = table();
        let old = judge(&holes, Component::Runc, "1.2.7");
        assert_eq!(old.health, Health::Weak);
        assert!(
            old.detail.contains("CVE-2025-52881") && old.detail.contains("is behind."),
            "{}",
            old.detail
        );
        assert!(old.remedy.unwrap().contains("1.2.8"));
        let packaged = judge(&holes, Component::Runc, "1.1.15+ds1-2+b4");
        assert_eq!(packaged.health, Health::Weak);
        assert!(
            packaged.detail.contains("your distribution may have fixed it"),
            "{}",
            packaged.detail
        );
        assert!(!packaged.detail.contains("CVE-2024-21626"), "1.1.15 has that one");
        let malware = judge(&holes, Component::Trivy, "Version: 0.69.4");
        assert_eq!(malware.health, Health::Missing);
        assert!(malware.detail.contains("CVE-2026-33634"));
        for good in ["1.3.3", "1.4.0-rc.3", "2.0.0"] {
            assert_eq!(judge(&holes, Component::Runc, good).health, Health::Ok, "{good}");
        }
        let silent = judge(&holes, Component::Gvisor, "");
        assert_eq!(silent.health, Health::Weak);
        assert!(silent.remedy.unwrap().contains("CVE-2026-96812"));
    }

    #[test]
    fn a_line_for_which_no_number_was_found_is_not_judged() {
        let holes = table();
        let second = holes.iter().find(|hole| hole.cves == ["CVE-2026-43500"]).unwrap();
        let standing = |text: &str| second.standing(&Version::find(text).unwrap());
        assert_eq!(standing("6.12.1"), Standing::Good);
        assert_eq!(standing("6.18.28"), Standing::Behind);
        assert_eq!(standing("6.19.1"), Standing::Behind);
        assert_eq!(standing("6.18.44-fc-v595"), Standing::Good);
    }
}
