//! Versions as programs and distributions spell them, and which comes first.

use std::cmp::Ordering;

/// A version as far as upstream counts it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Version {
    /// `1.2.8`; trailing zeros count for nothing.
    numbers: Vec<u64>,
    /// `3` of `-rc.3`; a release has none and comes later.
    candidate: Option<u64>,
    /// A distribution made it: it may have repaired things without a new number.
    pub(super) packaged: bool,
}

impl Version {
    /// The first version in a text: `runc version 1.1.5+ds1`, `v1.2.8-0-geeb7e60`, `0.0~20240729.0-4+b7`.
    pub(super) fn find(text: &str) -> Option<Self> {
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '"'))
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let word = word.trim_start_matches("release-").trim_start_matches('v');
        // Debian's gVisor: no version, then the date.
        let (word, dated) = match word.strip_prefix("0.0~") {
            Some(date) => (date, true),
            None => (word, false),
        };
        let end = word
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(word.len());
        let (plain, rest) = word.split_at(end);
        let numbers: Option<Vec<u64>> = plain
            .trim_end_matches('.')
            .split('.')
            .map(|part| part.parse().ok())
            .collect();
        let numbers = numbers.filter(|numbers| numbers.len() >= 2)?;
        Some(Self {
            numbers,
            candidate: candidate(rest),
            packaged: dated || is_packaged(rest),
        })
    }

    /// The line that a version belongs to.
    fn line(&self) -> (u64, u64) {
        (self.number(0), self.number(1))
    }

    fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }

    /// Upstream's order; who packaged it counts for nothing.
    fn order(&self, other: &Self) -> Ordering {
        let longest = self.numbers.len().max(other.numbers.len());
        let numbers = (0..longest).map(|index| self.number(index).cmp(&other.number(index)));
        numbers.fold(Ordering::Equal, Ordering::then).then_with(|| {
            let rank = |version: &Self| version.candidate.unwrap_or(u64::MAX);
            rank(self).cmp(&rank(other))
        })
    }

    /// The same one, as upstream counts.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Equal
    }

    /// Whether its line is an older one than that of the other.
    pub(super) fn is_of_older_line_than(&self, other: &Self) -> bool {
        self.line() < other.line()
    }

    /// Whether it is one of the first good versions or follows one in its line, or is of a newer line than all.
    pub(super) fn is_repaired(&self, fixed: &[Self]) -> bool {
        match fixed.iter().find(|good| good.line() == self.line()) {
            Some(good) => self.order(good) != Ordering::Less,
            None => fixed.iter().all(|good| good.line() < self.line()),
        }
    }
}

/// `-rc.3`, `-rc3`, `~rc1`.
fn candidate(rest: &str) -> Option<u64> {
    let after = rest.get(1..)?.strip_prefix("rc")?;
    let digits: String = after
        .trim_start_matches(['.', '-'])
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// `+ds1-2+b4`, `~ds1-6+deb13u1`, `-0ubuntu1`, `-4+b7`, `-28-generic`, but not `-0-geeb7e60` of `git describe`.
fn is_packaged(rest: &str) -> bool {
    if rest.contains(['+', '~']) {
        return true;
    }
    let mut parts = rest.split('-').skip(1);
    match (parts.next(), parts.next()) {
        (Some(count), Some(commit)) if count.bytes().all(|b| b.is_ascii_digit()) => {
            !(commit.starts_with('g') && commit[1..].bytes().all(|b| b.is_ascii_hexdigit()) && commit.len() > 6)
        }
        (Some(revision), _) => revision.starts_with(|c: char| c.is_ascii_digit()),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::find(text).unwrap_or_else(|| panic!("{text}"))
    }

    fn all(texts: &[&str]) -> Vec<Version> {
        texts.iter().map(|text| version(text)).collect()
    }

    #[test]
    fn versions_are_read_out_of_what_programs_say() {
        for (text, numbers, candidate, packaged) in [
            ("runc version 1.1.5+ds1", &[1, 1, 5][..], None, true),
            ("1.1.15+ds1-2+b4", &[1, 1, 15], None, true),
            ("v1.2.8-0-geeb7e60", &[1, 2, 8], None, false),
            ("1.4.0-rc.3", &[1, 4, 0], Some(3), false),
            ("1.7.24~ds1-6+deb13u1+b3", &[1, 7, 24], None, true),
            ("2.1.0~rc1-1", &[2, 1, 0], Some(1), true),
            ("29.1.3-0ubuntu1", &[29, 1, 3], None, true),
            ("runsc version 0.0~20240729.0-4", &[20_240_729, 0], None, true),
            ("runsc version release-20260824.0", &[20_260_824, 0], None, false),
            (
                "buildah version 1.39.3 (image-spec 1.1.0, runtime-spec 1.2.0)",
                &[1, 39, 3],
                None,
                false,
            ),
            ("Version: 0.71.0\nVulnerability DB:", &[0, 71, 0], None, false),
            ("6.18.44-fc-v595", &[6, 18, 44], None, false),
            ("6.12.85+deb13-amd64", &[6, 12, 85], None, true),
            ("6.1.0-44-amd64", &[6, 1, 0], None, true),
            ("kata-runtime  : 3.31.0", &[3, 31, 0], None, false),
        ] {
            let found = version(text);
            assert_eq!(
                (&found.numbers[..], found.candidate, found.packaged),
                (numbers, candidate, packaged),
                "{text}"
            );
        }
        for none in ["", "unknown", "version", "7", "N/A"] {
            assert_eq!(Version::find(none), None, "{none}");
        }
    }

    #[test]
    fn every_line_has_its_own_first_good_version() {
        let fixed = all(&["1.2.8", "1.3.3", "1.4.0-rc.3"]);
        for good in [
            "1.2.8",
            "v1.2.9",
            "1.3.3+ds1",
            "1.3.10",
            "1.4.0-rc.3",
            "1.4.0",
            "1.5.1",
            "2.0.0",
        ] {
            assert!(version(good).is_repaired(&fixed), "{good}");
        }
        for bad in ["1.1.15+ds1-2+b4", "1.2.7", "1.3.0", "1.3.2", "1.4.0-rc.2", "1.0.0"] {
            assert!(!version(bad).is_repaired(&fixed), "{bad}");
        }
        // Dates, and lines that were skipped.
        let dated = all(&["20260824.0"]);
        assert!(version("release-20261004.0").is_repaired(&dated));
        assert!(!version("0.0~20240729.0-4+b7").is_repaired(&dated));
        let kernels = all(&["6.12.85", "6.18.22", "7.0"]);
        assert!(version("7.0.0").is_repaired(&kernels) && version("7.1.2").is_repaired(&kernels));
        assert!(!version("6.13.9").is_repaired(&kernels) && !version("6.18.21").is_repaired(&kernels));
    }
}
