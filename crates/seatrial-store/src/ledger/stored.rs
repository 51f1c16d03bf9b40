//! Records as text: the same in every ledger.

use seatrial_core::{
    id::JobId,
    ledger::LedgerError,
    record::{JobRecord, SCHEMA},
};
use serde::Deserialize;

/// The record as it is stored.
pub(crate) fn encode(record: &JobRecord) -> Result<String, LedgerError> {
    serde_json::to_string(record).map_err(|source| broken(record.id, source))
}

/// Reads a record, unless a newer Seatrial made it.
pub(crate) fn decode(id: JobId, text: &str) -> Result<JobRecord, LedgerError> {
    match serde_json::from_str::<JobRecord>(text) {
        Ok(record) if record.schema <= SCHEMA => Ok(record),
        Ok(record) => Err(newer(id, record.schema)),
        // Of a newer record, nothing but the schema can be counted on.
        Err(source) => match schema_of(text) {
            Some(schema) if schema > SCHEMA => Err(newer(id, schema)),
            _ => Err(broken(id, source)),
        },
    }
}

/// The schema that a record's text names.
pub(crate) fn schema_of(text: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    serde_json::from_str::<Head>(text).ok().map(|head| head.schema)
}

/// Something of this job cannot be read.
pub(crate) fn broken(id: JobId, source: serde_json::Error) -> LedgerError {
    LedgerError::Broken {
        what: id.to_string(),
        source: source.into(),
    }
}

fn newer(id: JobId, schema: u32) -> LedgerError {
    LedgerError::Newer {
        what: id.to_string(),
        schema,
    }
}
