//! Names of keys. All share the hash tag of the prefix, so that one script may touch them all.

use seatrial_core::{digest::Digest, id::JobId, ledger::Idempotency, record::Priority};

/// Builds names.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
}

impl Keys {
    /// A prefix is a hash tag, with what may stand around it: `{st}`, `{st-test}:a`. Nothing in it means
    /// anything to the patterns of access lists.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte))
        };
        let (before, rest) = prefix.split_once('{')?;
        let (tag, after) = rest.split_once('}')?;
        let good = !tag.is_empty() && [before, tag, after].into_iter().all(plain) && prefix.len() <= 64;
        good.then(|| Self {
            prefix: prefix.to_owned(),
        })
    }

    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }

    pub(super) fn job(&self, id: JobId) -> String {
        format!("{}:j:{id}", self.prefix)
    }

    pub(super) fn news(&self, id: JobId) -> String {
        format!("{}:n:{id}", self.prefix)
    }

    pub(super) fn ready(&self, priority: Priority) -> String {
        format!("{}:r:{priority}", self.prefix)
    }

    pub(super) fn delayed(&self, priority: Priority) -> String {
        format!("{}:d:{priority}", self.prefix)
    }
}

/// Stands for a caller in names of keys: callers are text of any kind. Empty for the empty caller, whose
/// jobs are all jobs where callers are not told apart: no list of them is kept.
pub(super) fn caller_mark(caller: &str) -> String {
    if caller.is_empty() {
        return String::new();
    }
    let mut mark = Digest::of(caller.as_bytes()).hex();
    mark.truncate(32);
    mark
}

/// Stands for an idempotency key of a caller.
pub(super) fn idempotency_mark(caller: &str, idempotency: &Idempotency) -> String {
    let mut bytes = (caller.len() as u64).to_be_bytes().to_vec();
    bytes.extend(caller.as_bytes());
    bytes.extend(idempotency.key.as_bytes());
    Digest::of(&bytes).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_a_hash_tag_and_nothing_that_a_pattern_reads() {
        for good in ["{st}", "{st-2}", "a:{st}", "{st}:x"] {
            assert!(Keys::new(good).is_some(), "{good}");
        }
        for bad in ["", "st", "{}", "{st", "{s*}", "{s t}", "{a}{b}", "a?{st}"] {
            assert!(Keys::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_of_one_caller_is_not_the_key_of_another() {
        let key = |key: &str| Idempotency {
            key: key.to_owned(),
            fingerprint: Digest::of(b""),
            keep: std::time::Duration::ZERO,
        };
        assert_ne!(idempotency_mark("a", &key("bc")), idempotency_mark("ab", &key("c")));
    }
}
