//! What a try asks of the network, written down while it runs: a worker that is killed, or hands the job back, takes
//! nothing along but the last moments of it.

use std::time::Duration;

use seatrial_core::{
    egress::EgressView,
    record::JobRecord,
    vault::{BlobKind, BlobRef},
};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    case::Case,
    service::{Service, ServiceError},
};

/// Between two writes, at first; each waits a little longer than the one before.
const FIRST: Duration = Duration::from_millis(200);
/// And at last.
const LAST: Duration = Duration::from_secs(10);

/// What was put into the vault of it.
pub(super) struct Asked(Mutex<Put>);

struct Put {
    bytes: Vec<u8>,
    puts: u32,
    last: Option<Instant>,
    /// The one that the ledger names, and the one that it named before: some reader may be at it still.
    told: [Option<BlobRef>; 2],
}

impl Asked {
    /// Before the try begins: what earlier tries asked is there already.
    pub(super) fn new(record: &JobRecord, case: &Case) -> Self {
        Self(Mutex::new(Put {
            bytes: serde_json::to_vec(&case.evidence().asked()).unwrap_or_default(),
            puts: 0,
            last: None,
            told: [record.blobs.get(&BlobKind::Egress).cloned(), None],
        }))
    }

    /// Puts it if there is more, and not more often than is due unless it is wanted `now`. Where it is then.
    pub(super) async fn put(
        &self,
        service: &Service,
        record: &JobRecord,
        case: &Case,
        now: bool,
    ) -> Result<Option<BlobRef>, ServiceError> {
        let mut put = self.0.lock().await;
        let patience = (FIRST * (1 + put.puts / 4)).min(LAST);
        if !now && put.last.is_some_and(|last| last.elapsed() < patience) {
            return Ok(None);
        }
        let asked = case.evidence().asked();
        if asked.values().all(|view| *view == EgressView::default()) {
            return Ok(None);
        }
        let bytes = serde_json::to_vec(&asked)?;
        if bytes == put.bytes {
            return Ok(None);
        }
        let blob = (service.vault)
            .put(record.id, &record.key, BlobKind::Egress, &bytes)
            .await?;
        put.bytes = bytes;
        put.puts += 1;
        put.last = Some(Instant::now());
        Ok(Some(blob))
    }

    /// The ledger names this one now: the last but one is nobody's any more.
    pub(super) async fn told(&self, service: &Service, record: &JobRecord, blob: BlobRef) {
        let mut put = self.0.lock().await;
        let [now, before] = std::mem::take(&mut put.told);
        if now.as_ref() == Some(&blob) {
            // Told a second time: the first answer was lost.
            put.told = [now, before];
            return;
        }
        put.told = [Some(blob), now];
        drop(put);
        if let Some(older) = before
            && let Err(error) = service.vault.delete(record.id, &older).await
        {
            // It goes with the job.
            tracing::debug!(error = &error as &dyn std::error::Error, "a blob was not deleted");
        }
    }
}
