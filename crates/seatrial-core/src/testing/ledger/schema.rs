//! Records of other versions, and records that are damaged.

use serde_json::{Map, Value, json};

use super::{BUDGETS, LONG, Rig, apply, claim, claim_one, ids, made, new_job, read, settle};
use crate::{
    id::JobId,
    ledger::{Filter, LedgerError},
    record::{Move, SCHEMA},
};

async fn rewrite(rig: &dyn Rig, id: JobId, fields: Value) {
    let mut record: Map<String, Value> = serde_json::from_str(&rig.stored(id).await).unwrap();
    if let Value::Object(fields) = fields {
        record.extend(fields);
    }
    rig.store(id, serde_json::to_string(&record).unwrap()).await;
}

/// An older process neither reads nor moves nor claims a newer record, and works on with the others.
pub async fn a_newer_record_is_left_alone_and_blocks_nobody(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut brief = new_job("a");
    brief.wait = rig.unit();
    let newer = made(&*ledger, brief.clone()).await.id;
    rewrite(rig, newer, json!({"schema": SCHEMA + 1, "state": {"is": "levitating"}})).await;
    brief.id = JobId::fresh();
    let ours = made(&*ledger, brief).await.id;
    let lasting = made(&*ledger, new_job("a")).await.id;
    let stored = rig.stored(newer).await;
    let alone = |answer: Result<(), LedgerError>| {
        let refusal = answer.unwrap_err();
        assert!(
            matches!(refusal, LedgerError::Newer { schema, .. } if schema == SCHEMA + 1),
            "{refusal}"
        );
    };
    alone(ledger.get(newer).await.map(drop));
    for what in [
        Move::Cancel,
        Move::Reap(BUDGETS),
        Move::Claim {
            worker: "ann".into(),
            lease: LONG,
        },
    ] {
        alone(ledger.apply(newer, what).await.map(drop));
    }
    alone(ledger.erase(newer).await.map(drop));
    let page = ledger
        .list(&Filter {
            limit: 9,
            ..Filter::default()
        })
        .await
        .unwrap();
    let mut listed = ids(&page.jobs);
    listed.sort_unstable();
    let mut known = vec![ours, lasting];
    known.sort_unstable();
    assert_eq!(listed, known, "a list leaves it out");
    rig.pass(rig.unit() * 2).await;
    assert_eq!(
        ledger.overdue(1).await.unwrap(),
        [ours],
        "it hides nothing from the reaper"
    );
    assert_eq!(ids(&claim(&*ledger, 1).await), [ours]);
    assert_eq!(ids(&claim(&*ledger, 9).await), [lasting]);
    assert!(claim(&*ledger, 9).await.is_empty());
    assert_eq!(rig.stored(newer).await, stored);
    // Its own version finds it where it was.
    let mut record: Map<String, Value> = serde_json::from_str(&stored).unwrap();
    record.insert("schema".into(), json!(SCHEMA));
    record.insert("state".into(), json!({"is": "queued", "attempt": 1}));
    rig.store(newer, serde_json::to_string(&record).unwrap()).await;
    assert_eq!(claim_one(&*ledger).await.id, newer);
}

/// A record that cannot be read is a fault of that job alone.
pub async fn a_broken_record_blocks_nobody(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let broken = made(&*ledger, new_job("a")).await.id;
    let whole = made(&*ledger, new_job("a")).await.id;
    rig.store(broken, "{\"schema\":1,".into()).await;
    let fault = ledger.get(broken).await.unwrap_err();
    assert!(matches!(fault, LedgerError::Broken { .. }), "{fault}");
    assert!(!fault.is_transient());
    assert!(matches!(
        ledger.apply(broken, Move::Cancel).await,
        Err(LedgerError::Broken { .. })
    ));
    let page = ledger
        .list(&Filter {
            limit: 9,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(ids(&page.jobs), [whole]);
    assert_eq!(ids(&claim(&*ledger, 1).await), [whole]);
    assert!(claim(&*ledger, 1).await.is_empty());
    let held = read(&*ledger, whole).await;
    settle(&*ledger, &held).await.unwrap();
}

/// Fields that this version does not know are as they were after it has moved the job.
pub async fn unknown_fields_survive_a_move(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let id = made(&*ledger, new_job("a")).await.id;
    let unknown = json!({"colour": {"is": ["blue", null, 1.5, {"deep": true}]}, "revision_of_x": 7});
    rewrite(rig, id, unknown.clone()).await;
    let held = claim_one(&*ledger).await;
    assert_eq!(Value::Object(held.extra.clone()), unknown);
    apply(&*ledger, id, Move::Cancel).await.unwrap();
    settle(&*ledger, &held).await.unwrap();
    let stored: Map<String, Value> = serde_json::from_str(&rig.stored(id).await).unwrap();
    assert_eq!(stored.get("colour"), unknown.get("colour"));
    assert_eq!(stored.get("revision_of_x"), unknown.get("revision_of_x"));
}
