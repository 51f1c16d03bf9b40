//! Secrets and signatures, after Standard Webhooks.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What each secret begins with.
const PREFIX: &str = "whsec_";
/// More than anybody rotates through.
const MOST: usize = 8;
/// Base64 with or without its padding, as secrets are passed around.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why secrets cannot be used. Says nothing of what is in them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSecret {
    /// One of them.
    #[error("secret {number} {why}")]
    Malformed {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// None or too many.
    #[error("there are {count} secrets; 1 to {MOST} are needed")]
    Count {
        /// How many.
        count: usize,
    },
    /// The kernel gave no random bytes.
    #[error("no random bytes for a secret")]
    NoRandom,
}

/// Secrets that sign: each call-back bears a signature of each, so that receivers can change theirs one by one.
pub struct Secrets(Vec<Hmac<Sha256>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// From a text of `whsec_…` secrets between white space; lines that begin with `#` are remarks.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(str::split_whitespace);
        let keys = words.enumerate().map(|(at, word)| {
            let malformed = |why| BadSecret::Malformed { number: at + 1, why };
            key(word).map_err(malformed)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            1..=MOST => Ok(Self(keys)),
            count => Err(BadSecret::Count { count }),
        }
    }

    /// A fresh secret, as text.
    ///
    /// # Errors
    /// [`BadSecret::NoRandom`].
    pub fn fresh() -> Result<String, BadSecret> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| BadSecret::NoRandom)?;
        Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)))
    }

    /// `webhook-signature` of a message: one signature for each secret.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let signatures = self.0.iter().map(|key| {
            let mut mac = key.clone();
            mac.update(head.as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn key(word: &str) -> Result<Hmac<Sha256>, &'static str> {
    let encoded = word.strip_prefix(PREFIX).ok_or("does not begin with whsec_")?;
    let bytes = LENIENT.decode(encoded).map_err(|_| "is not base64 after whsec_")?;
    if !(24..=64).contains(&bytes.len()) {
        return Err("has not 24 to 64 bytes");
    }
    Hmac::new_from_slice(&bytes).map_err(|_| "cannot be a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn a_known_message_has_its_known_signature() {
        let secrets = Secrets::parse(SECRET).unwrap();
        let signature = secrets.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let fresh = Secrets::fresh().unwrap();
        let both = Secrets::parse(&format!("# old and new\n{SECRET}\n{fresh} \n")).unwrap();
        let of = |text: &str| Secrets::parse(text).unwrap().sign("msg_1", 1, b"x");
        assert_eq!(both.sign("msg_1", 1, b"x"), format!("{} {}", of(SECRET), of(&fresh)));
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_not_repeated() {
        let refused = |text: &str| Secrets::parse(text).unwrap_err().to_string();
        assert_eq!(refused(""), "there are 0 secrets; 1 to 8 are needed");
        assert_eq!(refused("# none\n"), "there are 0 secrets; 1 to 8 are needed");
        assert_eq!(refused("hunter2"), "secret 1 does not begin with whsec_");
        assert_eq!(
            refused(&format!("{SECRET} whsec_hunter2!")),
            "secret 2 is not base64 after whsec_"
        );
        assert_eq!(refused("whsec_aGVsbG8="), "secret 1 has not 24 to 64 bytes");
        assert!(!format!("{:?}", Secrets::parse(SECRET).unwrap()).contains("MfKQ"));
    }
}
