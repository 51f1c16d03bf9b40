//! What the judge says of a text: findings, their rules, their levels.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{Deserialize, Serialize};

/// A half-open range of bytes in the ORIGINAL text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// As a standard range, to slice with.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

/// Serialised as `[from, to]`.
impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.start, self.end].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [start, end] = <[usize; 2]>::deserialize(deserializer)?;
        Ok(Self { start, end })
    }
}

/// How much a finding weighs under the policy in force.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Style; never blocks.
    Info,
    /// Worth a look; blocks only where the policy says so.
    Warn,
    /// Unsafe; blocks by default.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// How bad the thing itself is, whatever the policy does with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not stated by the source.
    Unknown,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// All of them, the worst first: the order in which counts are shown.
    pub const WORST_FIRST: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Unknown];
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// A rule of ours. Ids are stable for ever: a retired rule's id is never used again.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// `ST001` and so on.
    pub id: &'static str,
    /// Short, in the imperative or as a noun phrase.
    pub title: &'static str,
    /// The level without any policy.
    pub level: Level,
    /// How bad the thing is.
    pub severity: Severity,
    /// Why it matters to somebody who runs other people's files.
    pub reason: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
    /// Concern ids of the merged catalogue (`C04`, `G01`).
    pub concerns: &'static [&'static str],
    /// The same rule in other tools: `hadolint:DL3026`.
    pub aliases: &'static [&'static str],
    /// A Dockerfile that it finds.
    pub bad: &'static str,
    /// The same done well: the rule is silent.
    pub good: &'static str,
}

impl Rule {
    /// Where the rule is explained, with its examples: a file that is made of the same words.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{}/blob/main/docs/rules/{}.md", env!("CARGO_PKG_REPOSITORY"), self.id)
    }
}

/// One rule at one place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// The rule's id.
    pub rule: Cow<'static, str>,
    /// The rule's own level, or what the policy made of it.
    pub level: Level,
    /// 1-based line of `span.start`.
    pub line: usize,
    /// 1-based column of `span.start`, in characters.
    pub column: usize,
    /// Where, in bytes of the original text.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::span"))]
    pub span: Span,
    /// What was seen, here. Holds guest bytes: escape before printing.
    pub message: String,
    /// What to do about it.
    pub remedy: Cow<'static, str>,
    /// The correction, where it is mechanical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Box<Fix>>,
}

impl Finding {
    /// 1-based line and column (in characters) just behind its place. `text` is what was judged.
    #[must_use]
    pub fn end(&self, text: &[u8]) -> (usize, usize) {
        let within = text
            .get(self.span.start.min(text.len())..self.span.end.min(text.len()))
            .unwrap_or_default();
        let within = String::from_utf8_lossy(within);
        match within.rsplit_once('\n') {
            None => (self.line, self.column + within.chars().count()),
            Some((before, last)) => (self.line + before.matches('\n').count() + 1, last.chars().count() + 1),
        }
    }
}

/// A correction that keeps what the author meant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fix {
    /// What it does, in the imperative.
    pub title: String,
    /// In ascending order, and apart from each other.
    pub edits: Vec<Edit>,
}

/// Text that takes the place of a range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Edit {
    /// What is replaced, in bytes of the original text; empty to insert.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::span"))]
    pub span: Span,
    /// What comes in its place.
    pub text: String,
}

/// Replaces control characters, bidirectional overrides and invisible characters by `\u{..}`,
/// so that guest text cannot drive a terminal or hide in it. Newline and tab become `\n`, `\t`.
#[must_use]
pub fn escape_untrusted(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) || character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Characters that reorder or hide text on a screen: bidirectional controls, zero-width
/// characters, soft hyphen, line separators, tags and variation-selector supplements.
#[must_use]
pub fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_and_bidi_controls_are_made_visible() {
        assert_eq!(
            escape_untrusted("a\u{1b}]0;x\u{7}\u{202e}b\n"),
            "a\\u{1b}]0;x\\u{7}\\u{202e}b\\n"
        );
        assert_eq!(escape_untrusted("größer ✓"), "größer ✓");
    }

    #[test]
    fn levels_are_ordered_from_harmless_to_unsafe() {
        assert!(Level::Info < Level::Warn && Level::Warn < Level::Error);
    }
}
