//! Settings of call-backs, and their check.

use std::{fmt, path::PathBuf, time::Duration};

use seatrial_core::limits::human_duration;
use serde::{Deserialize, Serialize, Serializer};

use super::{BadConfig, network};
use crate::webhook::Targets;

/// The branch `server.webhooks` of the configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Submitters may ask for a call back. It needs a secret.
    pub enabled: bool,
    /// File with secrets that sign call-backs, for this user alone; `seatrial keys webhook FILE` makes one.
    pub secret_file: Option<PathBuf>,
    /// Secrets, separated by spaces: for the environment. Those of the file are used too.
    pub secret: Option<SecretText>,
    /// Networks that may be called though they are private or otherwise special: `10.1.0.0/16`, `fd00:1::/32`.
    pub allow: Vec<String>,
    /// Call `http://` too: what is sent can then be read and held back on its way, though not changed.
    pub allow_http: bool,
    /// `source` of the events: where this service is, as its receivers name it.
    pub source: String,
    /// Certificate of an authority that vouches for receivers, beside the system's.
    pub tls_ca: Option<PathBuf>,
    /// Pauses between tries; when the try after the last pause fails, the delivery is dead.
    #[serde(with = "spans")]
    pub schedule: Vec<Duration>,
    /// Longest try.
    #[serde(with = "human_duration")]
    pub try_time: Duration,
    /// Longest wait for a connection.
    #[serde(with = "human_duration")]
    pub connect_time: Duration,
    /// Tries at a time.
    pub max_tries: usize,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        let (minute, hour) = (60, 60 * 60);
        let schedule = [
            5,
            5 * minute,
            30 * minute,
            2 * hour,
            5 * hour,
            10 * hour,
            14 * hour,
            20 * hour,
            24 * hour,
        ];
        Self {
            enabled: false,
            secret_file: None,
            secret: None,
            allow: Vec::new(),
            allow_http: false,
            source: "/v1/jobs".to_owned(),
            tls_ca: None,
            schedule: schedule.map(Duration::from_secs).into(),
            try_time: Duration::from_secs(15),
            connect_time: Duration::from_secs(5),
            max_tries: 64,
        }
    }
}

/// Secrets in the configuration: never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The whole of it, for whoever signs.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// Checks all but the secret, which may lie in a file: whoever sends looks for it.
pub(crate) fn checked(config: &WebhookConfig) -> Result<Targets, BadConfig> {
    const LONGEST_TRY: Duration = Duration::from_secs(120);
    const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    let mut allow = Vec::new();
    for text in &config.allow {
        allow.push(network("webhooks.allow", text)?);
    }
    if config.max_tries == 0 || config.max_tries > 4096 {
        return Err(BadConfig::new("webhooks.max_tries", "it must be 1 to 4096"));
    }
    let times = [
        ("webhooks.try_time", config.try_time),
        ("webhooks.connect_time", config.connect_time),
    ];
    for (key, time) in times {
        if time.is_zero() || time > LONGEST_TRY {
            return Err(BadConfig::new(key, "it must be more than 0 and at most 2 min"));
        }
    }
    let too_long = config.schedule.iter().any(|pause| *pause > LONGEST_PAUSE);
    if config.schedule.len() > 32 || too_long {
        return Err(BadConfig::new(
            "webhooks.schedule",
            "it must be at most 32 pauses of at most 7 days",
        ));
    }
    let base = url::Url::parse("http://here/").ok();
    let source = &config.source;
    if source.is_empty() || source.len() > 1024 || url::Url::options().base_url(base.as_ref()).parse(source).is_err() {
        return Err(BadConfig::new(
            "webhooks.source",
            "it must be an address or a path such as https://seatrial.example.org/v1/jobs",
        ));
    }
    Ok(Targets::new(allow, config.allow_http))
}

/// A list of spans of time, as people write them.
mod spans {
    use std::time::Duration;

    use seatrial_core::limits::human_duration;
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer, de::Error as _};

    #[derive(Serialize)]
    #[serde(transparent)]
    struct Span(#[serde(with = "human_duration")] Duration);

    pub(super) fn serialize<S: Serializer>(spans: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(spans.iter().copied().map(Span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let spans = texts.iter().map(|text| human_duration::parse(text));
        spans.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used_and_nobody_is_called() {
        let config = WebhookConfig::default();
        checked(&config).unwrap();
        assert!(!config.enabled && !config.allow_http && config.allow.is_empty());
        assert_eq!(config.schedule.len(), 9, "ten tries");
    }

    #[test]
    fn settings_are_read_as_people_write_them_and_read_back() {
        let text = serde_json::json!({"schedule": ["5s", "1h 30m"], "try_time": "1s"});
        let config: WebhookConfig = serde_json::from_value(text).unwrap();
        assert_eq!(config.schedule, [5, 5400].map(Duration::from_secs));
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<WebhookConfig>(written).unwrap(), config);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let config = WebhookConfig {
            secret: Some("whsec_hunter2".to_owned().into()),
            ..WebhookConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        let with = |change: fn(&mut WebhookConfig)| {
            let mut config = WebhookConfig::default();
            change(&mut config);
            checked(&config).unwrap_err().key
        };
        assert_eq!(with(|c| c.allow = vec!["10.0.0.0/33".into()]), "webhooks.allow");
        assert_eq!(with(|c| c.max_tries = 0), "webhooks.max_tries");
        assert_eq!(with(|c| c.try_time = Duration::ZERO), "webhooks.try_time");
        assert_eq!(with(|c| c.schedule = vec![Duration::MAX]), "webhooks.schedule");
        assert_eq!(with(|c| c.source = String::new()), "webhooks.source");
    }
}
