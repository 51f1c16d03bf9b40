//! What the API takes. The server reads bodies by hand ([`crate::submission`]), so that it can point at
//! every place that is wrong; these types are for clients and for the description.

use std::collections::BTreeMap;

use seatrial_core::{
    record::Priority,
    walls::{Ask, Asked},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, Schema,
        schema::{AdditionalProperties, Object, SchemaType, Type},
    },
};

/// The body of `POST /v1/jobs`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The Dockerfile's text.
    #[schema(examples("FROM debian:bookworm-slim\nCMD [\"true\"]\n"))]
    pub dockerfile: String,
    /// See [`JobOptions::labels`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = labels)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Its queue; `normal` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::wire::schema::Priority>)]
    pub priority: Option<Priority>,
    /// Do not start it before this time has passed: `90s`, `15m`, `1h 30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]{1,7}(ms|s|m|h)( [0-9]{1,7}(ms|s|m|h))*$", examples("90s"))]
    pub delay: Option<String>,
    /// Where the guest leaves its result; `/data/perf.json` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^/data(/(?!\\.{1,2}(/|$))[^/\\x00-\\x1f\\x7f-\\x9f]{1,255}){1,16}$",
        max_length = 1030
    )]
    pub result: Option<String>,
    /// Keep other files of `/data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<bool>,
    /// Where to send word of the end, such as `https://hooks.example.org/x`; refused unless `GET /v1/limits` says
    /// that webhooks are on, and when its address is not one of the open internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri", max_length = 2048)]
    pub webhook: Option<String>,
    /// Walls that it must have, beyond the operator's; a job whose worker cannot prove them ends as `errored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = walls)]
    pub walls: Option<Asked>,
}

/// The part `options` of a form: the same without the Dockerfile.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobOptions {
    /// Labels of the job, kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = labels)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Its queue; `normal` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::wire::schema::Priority>)]
    pub priority: Option<Priority>,
    /// Do not start it before this time has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]{1,7}(ms|s|m|h)( [0-9]{1,7}(ms|s|m|h))*$", examples("90s"))]
    pub delay: Option<String>,
    /// Where the guest leaves its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^/data(/(?!\\.{1,2}(/|$))[^/\\x00-\\x1f\\x7f-\\x9f]{1,255}){1,16}$",
        max_length = 1030
    )]
    pub result: Option<String>,
    /// Keep other files of `/data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<bool>,
    /// Where to send word of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri", max_length = 2048)]
    pub webhook: Option<String>,
    /// Walls that it must have, beyond the operator's; a job whose worker cannot prove them ends as `errored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = walls)]
    pub walls: Option<Asked>,
}

/// The form of `POST /v1/jobs`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobForm {
    /// The Dockerfile's text.
    #[schema(format = Binary)]
    pub dockerfile: String,
    /// The build context: a tar of folders, plain files and symbolic links, not compressed.
    #[schema(format = Binary, required = false)]
    pub context: String,
    /// Files for the guest, read-only at `/inputs/<file name>`.
    #[schema(format = Binary, max_items = 256, required = false)]
    pub inputs: Vec<String>,
    /// What else is asked for, as JSON.
    #[schema(required = false)]
    pub options: JobOptions,
}

/// The body of `POST /v1/analyses`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalysisRequest {
    /// The Dockerfile's text.
    pub dockerfile: String,
}

fn labels() -> Schema {
    let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let key = text("^[A-Za-z0-9._/-]{1,63}$");
    let value = text("^[^\\x00-\\x1f\\x7f-\\x9f]*$").max_length(Some(256));
    let mut labels: Object = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(
            "Labels of the job, kept with it: at most 64; a value is at most 256 bytes.",
        ))
        .property_names(Some(Schema::Object(key.build())))
        .additional_properties(Some(AdditionalProperties::<Schema>::RefOr(
            Schema::Object(value.build()).into(),
        )))
        .build();
    labels.max_properties = Some(crate::submission::MAX_LABELS);
    Schema::Object(labels)
}

fn walls() -> Schema {
    let words = || {
        let word = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Ask::words()));
        ArrayBuilder::new().items(word).max_items(Some(Ask::words().len()))
    };
    let walls = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(
            "Walls that it must have, by stage, beyond the operator's: levels or single walls. A worker that \
             cannot prove them leaves the job to one that can; where none is, it ends as `errored`.",
        ))
        .property("build", words())
        .property("run", words())
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    Schema::Object(walls.build())
}
