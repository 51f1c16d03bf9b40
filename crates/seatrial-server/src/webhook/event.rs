//! What is sent: a CloudEvent in structured JSON. Codes, times and the submitter's own labels; no word of the
//! guest's and no result: a receiver fetches those, with the rights that it has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatrial_core::{
    id::{CorrelationId, JobId},
    job::{Blame, Ending, Reason},
};
use seatrial_pipeline::service::deliver::Letter;
use serde::Serialize;

use crate::wire::Links;

pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";
const KIND: &str = "io.seatrial.job.settled";

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: JobId,
    time: Timestamp,
    datacontenttype: &'static str,
    correlationid: &'a CorrelationId,
    /// The extension for distributed tracing.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: JobId,
    state: Ending,
    reason: Reason,
    blame: Blame,
    correlation_id: &'a CorrelationId,
    labels: &'a BTreeMap<String, String>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    links: Links,
}

/// The same for each try, so that a receiver can drop repeats. Holds no full stop: one ends it in what is signed.
pub(crate) fn id(job: JobId) -> String {
    format!("msg_{}", job.short())
}

/// The bytes to sign and to send.
pub(crate) fn body(letter: Letter<'_>, id: &str, source: &str) -> Result<Vec<u8>, serde_json::Error> {
    let record = letter.record;
    serde_json::to_vec(&Event {
        specversion: "1.0",
        id,
        source,
        kind: KIND,
        subject: record.id,
        time: record.finished_at.unwrap_or(record.created_at),
        datacontenttype: "application/json",
        correlationid: &record.correlation_id,
        traceparent: record.traceparent.as_deref(),
        data: Data {
            id: record.id,
            state: letter.outcome.ending,
            reason: letter.outcome.reason,
            blame: letter.outcome.blame,
            correlation_id: &record.correlation_id,
            labels: &record.labels,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            links: Links::of(record),
        },
    })
}
