//! The JSON form, and its JSON Schema out of the same types.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings, json_schema};
use seatrial_core::{
    digest::Digest,
    finding::{Finding, Level},
    view::WaivedView,
};
use serde::Serialize;

use super::Judged;

/// Version of the form; it grows by keys without a new one.
const VERSION: u32 = 1;

/// What `seatrial analyze --format json` prints.
#[derive(Serialize, JsonSchema)]
pub(super) struct Document<'a> {
    /// Of this form. Keys may be added without a new one.
    #[schemars(extend("const" = VERSION))]
    version: u32,
    /// As they were named, and those found in directories by path.
    files: Vec<File<'a>>,
}

/// A file, and what was found in it.
#[derive(Serialize, JsonSchema)]
struct File<'a> {
    /// As it was named.
    path: &'a str,
    /// Under the policy in force.
    verdict: Word,
    /// SHA-256 of the text; not there when it is larger than the policy allows, and was not read to its end.
    #[schemars(schema_with = "digest")]
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// All of them by place, those that a waiver lets pass too.
    findings: &'a [Finding],
    /// How many of each level.
    #[schemars(schema_with = "counts")]
    counts: &'a BTreeMap<Level, usize>,
    /// Rules that block, each once.
    blocking: &'a [Cow<'static, str>],
    /// Findings that a waiver lets pass.
    waived: &'a [WaivedView],
    /// Waivers that would have covered a finding and have run out.
    expired_waivers: &'a [WaivedView],
}

/// Whether the policy lets a file pass.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    /// Nothing blocks.
    Pass,
    /// Something does.
    Deny,
}

/// The form of these files.
pub(super) fn of(judged: &[Judged]) -> Document<'_> {
    let files = judged.iter().map(|file| File {
        path: &file.path,
        verdict: if file.denied() { Word::Deny } else { Word::Pass },
        digest: file.digest,
        findings: &file.analysis.findings,
        counts: &file.analysis.counts,
        blocking: &file.analysis.blocking,
        waived: &file.analysis.waived,
        expired_waivers: &file.analysis.expired_waivers,
    });
    Document {
        version: VERSION,
        files: files.collect(),
    }
}

/// The schema as text, the same for every call.
pub(super) fn schema() -> String {
    let schema = SchemaSettings::draft07()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Document<'_>>();
    seatrial_core::schema::text(schema, "analyze.schema.json", "Seatrial analysis")
}

fn digest(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
}

fn counts(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({
        "type": "object",
        "propertyNames": {"enum": ["info", "warn", "error"]},
        "additionalProperties": {"type": "integer", "minimum": 0}
    })
}
