//! What a job may use. One value; one function in `seatrial-engine` lowers it to Engine settings.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Most bytes of one file of `/data`: the holder reads it into memory.
pub const MAX_READ: u64 = 64 << 20;

/// Every bound of a job. The defaults are the "starting limits" of the API description.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest Dockerfile, in bytes.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub dockerfile: ByteSize,
    /// Largest build context, in bytes of its tar.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub context: ByteSize,
    /// Largest sum of all input files, in bytes.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub inputs: ByteSize,
    /// The build.
    pub build: BuildLimits,
    /// The scan.
    pub scan: ScanLimits,
    /// The run.
    pub run: RunLimits,
    /// Kept log of one stage, in bytes: the first and the last half of it.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub log: ByteSize,
    /// Largest result file, in bytes.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub result: ByteSize,
}

/// Bounds of a build.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BuildLimits {
    /// Wall time.
    #[serde(with = "human_duration")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::time"))]
    pub time: Duration,
    /// Processors, 1.0 is one core.
    pub cpus: f64,
    /// Memory and swap together; the store on tmpfs lives inside it.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub memory: ByteSize,
    /// Processes and threads.
    pub pids: u32,
    /// The writable store of the builder (a tmpfs, so part of `memory`).
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub store: ByteSize,
    /// Sum of the new layers, in bytes.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub layers: ByteSize,
}

/// Bounds of a scan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ScanLimits {
    /// Wall time.
    #[serde(with = "human_duration")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::time"))]
    pub time: Duration,
    /// Processors.
    pub cpus: f64,
    /// Memory and swap together, beside the layers that it is given: at most `limits.build.layers`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub memory: ByteSize,
    /// Processes and threads.
    pub pids: u32,
}

/// Bounds of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RunLimits {
    /// Wall time.
    #[serde(with = "human_duration")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::time"))]
    pub time: Duration,
    /// Processors.
    pub cpus: f64,
    /// Memory, without any swap; tmpfs of `/tmp`, `/data` and image volumes count in it.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub memory: ByteSize,
    /// Processes and threads.
    pub pids: u32,
    /// Size of `/tmp`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub tmp: ByteSize,
    /// Size of `/data`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    pub data: ByteSize,
    /// Files and directories in `/data`.
    pub data_files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dockerfile: ByteSize::kib(256),
            context: ByteSize::mib(64),
            inputs: ByteSize::mib(64),
            build: BuildLimits::default(),
            scan: ScanLimits::default(),
            run: RunLimits::default(),
            log: ByteSize::mib(1),
            result: ByteSize::kib(64),
        }
    }
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(15 * 60),
            cpus: 2.0,
            memory: ByteSize::gib(4),
            pids: 512,
            store: ByteSize::gib(2),
            layers: ByteSize::gib(2),
        }
    }
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(5 * 60),
            cpus: 2.0,
            memory: ByteSize::gib(2),
            pids: 256,
        }
    }
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            cpus: 1.0,
            memory: ByteSize::mib(512),
            pids: 128,
            tmp: ByteSize::mib(64),
            data: ByteSize::mib(64),
            data_files: 1024,
        }
    }
}

/// Durations as people write them (`"15m"`, `"1h 30m"`), through jiff's friendly format.
pub mod human_duration {
    use std::time::Duration;

    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `15m`.
    ///
    /// # Errors
    /// Whatever the serializer reports.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!(
            "{:#}",
            SignedDuration::try_from(*duration).unwrap_or(SignedDuration::MAX)
        ))
    }

    /// Reads `15m`, `90s`, `1h 30m`; refuses negative values.
    ///
    /// # Errors
    /// The text is not a duration, or is negative.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// Reads one duration. `7d` is seven times 24 hours; days stand alone.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Duration, String> {
        if let Some(days) = text
            .strip_suffix('d')
            .and_then(|days| days.trim_end().parse::<u32>().ok())
        {
            return Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60));
        }
        let signed: SignedDuration = text.parse().map_err(|_| {
            format!(
                "'{}' is not a duration; write it like 90s, 15m, 1h 30m or 7d",
                text.escape_default()
            )
        })?;
        Duration::try_from(signed).map_err(|_| "a limit cannot be negative".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::human_duration::parse;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse("15m"), Ok(Duration::from_secs(15 * 60)));
        assert_eq!(parse("1h 30m"), Ok(Duration::from_secs(90 * 60)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(7 * 24 * 60 * 60)));
        for bad in ["", "d", "-1d", "7", "-5s", "1d 2x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
