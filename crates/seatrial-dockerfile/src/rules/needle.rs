//! Finds any of a few ASCII words in one pass.

/// Words to look for, and the pairs of bytes that they begin with.
pub(super) struct Needles {
    words: &'static [&'static str],
    first: [bool; 256],
    second: [bool; 256],
}

impl Needles {
    /// Every word has two bytes at least, in lower case when the search folds case.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        let mut needles = Self {
            words,
            first: [false; 256],
            second: [false; 256],
        };
        let mut at = 0;
        while at < words.len() {
            let bytes = words[at].as_bytes();
            needles.first[bytes[0] as usize] = true;
            needles.second[bytes[1] as usize] = true;
            at += 1;
        }
        needles
    }

    /// The word that begins at `at`, the longest that fits when words are sorted so.
    pub(super) fn at(&self, text: &[u8], at: usize) -> Option<&'static str> {
        let rest = text.get(at..)?;
        let [first, second, ..] = rest else { return None };
        if !self.first[usize::from(*first)] || !self.second[usize::from(*second)] {
            return None;
        }
        self.words
            .iter()
            .copied()
            .find(|word| rest.starts_with(word.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_begin() {
        static WORDS: Needles = Needles::new(&["ab", "abc", "xy"]);
        let found: Vec<_> = (0..6).map(|at| WORDS.at(b"zabcxy", at)).collect();
        assert_eq!(found, [None, Some("ab"), None, None, Some("xy"), None]);
        assert_eq!(WORDS.at(b"a", 0), None);
        assert_eq!(WORDS.at(b"", 7), None);
    }
}
