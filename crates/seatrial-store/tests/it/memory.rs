//! The contract of ledgers on memory, in paused time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use seatrial_core::{
    id::JobId,
    ledger::Ledger,
    testing::ledger::{BUDGETS, Rig},
};
use seatrial_store::ledger::memory::MemoryLedger;

struct Memory(MemoryLedger, Arc<MemoryLedger>, Arc<MemoryLedger>);

#[async_trait]
impl Rig for Memory {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.1) as Arc<dyn Ledger>
    }

    async fn other(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.2) as Arc<dyn Ledger>
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn stored(&self, id: JobId) -> String {
        self.0.stored(id).unwrap()
    }

    async fn store(&self, id: JobId, record: String) {
        self.0.store(id, record);
    }
}

async fn rig() -> Memory {
    tokio::time::pause();
    let ledger = MemoryLedger::new(BUDGETS);
    Memory(ledger.clone(), Arc::new(ledger.clone()), Arc::new(ledger))
}

seatrial_core::ledger_contract!(rig);
