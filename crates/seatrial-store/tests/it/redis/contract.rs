//! The contract, in real time: the clock of Redis cannot be set.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Client, aio::MultiplexedConnection};
use seatrial_core::{
    id::JobId,
    ledger::Ledger,
    testing::ledger::{BUDGETS, Rig},
};
use seatrial_store::{
    ledger::redis::{RedisLedger, RedisOptions},
    testing::RedisServer,
};

/// Two handles to the ledger of one server, and a connection beside them that may do all.
pub(super) struct OnRedis {
    pub(super) ledgers: [Arc<dyn Ledger>; 2],
    pub(super) plain: MultiplexedConnection,
    pub(super) _server: RedisServer,
}

#[async_trait]
impl Rig for OnRedis {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledgers[0])
    }

    async fn other(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledgers[1])
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn stored(&self, id: JobId) -> String {
        let mut get = redis::cmd("HGET");
        get.arg(format!("{{st}}:j:{id}")).arg("record");
        get.query_async(&mut self.plain.clone()).await.unwrap()
    }

    async fn store(&self, id: JobId, record: String) {
        let mut set = redis::cmd("HSET");
        set.arg(format!("{{st}}:j:{id}")).arg("record").arg(&record);
        // A newer process writes its schema beside the record, for scripts to see.
        if let Ok(record) = serde_json::from_str::<serde_json::Value>(&record) {
            set.arg("schema").arg(record["schema"].as_u64().unwrap());
        }
        let _: () = set.query_async(&mut self.plain.clone()).await.unwrap();
    }
}

async fn rig() -> OnRedis {
    let server = RedisServer::start().await.unwrap();
    let open = async || {
        let options = RedisOptions {
            budgets: BUDGETS,
            ..RedisOptions::default()
        };
        Arc::new(RedisLedger::connect(&server.url(), options).await.unwrap()) as Arc<dyn Ledger>
    };
    let client = Client::open(server.url()).unwrap();
    OnRedis {
        ledgers: [open().await, open().await],
        plain: client.get_multiplexed_async_connection().await.unwrap(),
        _server: server,
    }
}

seatrial_core::ledger_contract!(rig);
