use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use seatrial_core::{
    id::JobId,
    testing::vault::{Ring, VaultRig},
    vault::{BlobKind, Vault},
};
use seatrial_store::vault::{MemoryVault, memory::Memory};

seatrial_core::vault_contract!(Rig::default());

#[derive(Default)]
struct Rig(Memory);

#[async_trait]
impl VaultRig for Rig {
    async fn vault(&self, ring: Ring) -> Arc<dyn Vault> {
        Arc::new(MemoryVault::new(self.0.clone(), super::ring(ring)))
    }

    async fn raw(&self, job: JobId, _: BlobKind, name: &str) -> Vec<u8> {
        let mut all = self.0.everything().into_iter();
        let found = all.find(|(of, _, called, _)| (*of, called.to_string().as_str()) == (job, name));
        found.unwrap().3
    }

    async fn plant(&self, job: JobId, kind: BlobKind, name: &str, sealed: Vec<u8>) {
        self.0.plant(job, kind, name.parse().unwrap(), sealed);
    }

    async fn everything(&self) -> Vec<Vec<u8>> {
        let all = self.0.everything().into_iter();
        all.flat_map(|(job, kind, name, sealed)| [format!("{job} {kind:?} {name}").into_bytes(), sealed])
            .collect()
    }

    async fn age(&self, by: Duration) {
        self.0.age(by);
    }
}

#[tokio::test]
async fn a_full_memory_takes_nothing() {
    let rig = Rig::default();
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let key = vault.new_key(job).unwrap();
    rig.0.set_full(true);
    let end = vault.put(job, &key, BlobKind::Log, b"a log").await;
    assert!(end.is_err_and(|error| error.is_transient()));
    assert_eq!(rig.everything().await.len(), 0);
}
