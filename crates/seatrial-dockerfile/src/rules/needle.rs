//! Finds any of a few ASCII words in one pass.

/// Words to look for, grouped by the byte at `key`: only those of one group are compared.
pub(super) struct Needles {
    words: &'static [&'static str],
    key: usize,
    first: [bool; 256],
    /// Where the group of each byte begins and ends in `words`.
    groups: [(u8, u8); 256],
}

impl Needles {
    /// Every word is longer than `key + 1`; words with the same byte there stand together, the
    /// longer of two that begin alike first. All that is checked when this is compiled.
    pub(super) const fn new(words: &'static [&'static str], key: usize) -> Self {
        let mut needles = Self {
            words,
            key,
            first: [false; 256],
            groups: [(0, 0); 256],
        };
        assert!(words.len() < 256);
        let mut at = 0;
        while at < words.len() {
            let bytes = words[at].as_bytes();
            assert!(bytes.len() > key + 1);
            needles.first[bytes[0] as usize] = true;
            let group = &mut needles.groups[bytes[key] as usize];
            if group.1 == 0 {
                group.0 = at as u8;
            } else {
                assert!(group.1 as usize == at, "words of one group must stand together");
            }
            group.1 = at as u8 + 1;
            at += 1;
        }
        needles
    }

    /// Whether a word may begin with this byte.
    pub(super) fn may_begin(&self, byte: u8) -> bool {
        self.first[usize::from(byte)]
    }

    /// The word that begins at `at`.
    pub(super) fn at(&self, text: &[u8], at: usize) -> Option<&'static str> {
        let rest = text.get(at..)?;
        if !self.first[usize::from(*rest.first()?)] {
            return None;
        }
        let (from, to) = self.groups[usize::from(*rest.get(self.key)?)];
        let next = rest.get(self.key + 1)?;
        self.words[usize::from(from)..usize::from(to)]
            .iter()
            .copied()
            .find(|word| word.as_bytes()[self.key + 1] == *next && rest.starts_with(word.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_begin() {
        static WORDS: Needles = Needles::new(&["abc", "ab", "xy"], 0);
        let found: Vec<_> = (0..6).map(|at| WORDS.at(b"zabcxy", at)).collect();
        assert_eq!(found, [None, Some("abc"), None, None, Some("xy"), None]);
        assert_eq!(WORDS.at(b"a", 0), None);
        assert_eq!(WORDS.at(b"", 7), None);
        assert_eq!(WORDS.at(b"ab", 0), Some("ab"));
    }

    #[test]
    fn any_byte_may_tell_the_groups_apart() {
        static WORDS: Needles = Needles::new(&["/ab", "/ac", "/dd"], 1);
        assert_eq!(WORDS.at(b"/ac", 0), Some("/ac"));
        assert_eq!(WORDS.at(b"/dx", 0), None);
        assert!(WORDS.may_begin(b'/') && !WORDS.may_begin(b'a'));
    }
}
