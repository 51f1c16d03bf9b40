//! Creation: durable, once, bounded.

use std::collections::BTreeMap;

use super::{LONG, Rig, apply, claim, made, new_job, read};
use crate::{
    digest::Digest,
    job::{JobState, Outcome, Reason},
    ledger::{Created, Filter, Idempotency, NewJob},
    record::{Move, NewsBody, Refusal, SCHEMA},
    vault::{BlobKind, BlobRef},
};

fn keyed(caller: &str, key: &str, question: &str) -> NewJob {
    NewJob {
        idempotency: Some(Idempotency {
            key: key.to_owned(),
            fingerprint: Digest::of(question.as_bytes()),
            keep: LONG,
        }),
        ..new_job(caller)
    }
}

/// Everything that was said about a job is read back, also by another process.
pub async fn a_job_reads_back_as_it_was_made(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut job = new_job("Zoë \"quoted\" \0 🦀");
    job.labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    job.traceparent = Some("00-1-2-01".into());
    job.webhook = Some("https://example.org/hook".into());
    let blob = BlobRef {
        name: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
        bytes: 12,
    };
    job.blobs.insert(BlobKind::Dockerfile, blob);
    let before = ledger.now().await.unwrap();
    let record = made(&*ledger, job.clone()).await;
    let after = ledger.now().await.unwrap();
    assert!(before <= record.created_at && record.created_at <= after);
    assert_eq!(record.schema, SCHEMA);
    assert_eq!(record.state, JobState::admitted());
    assert_eq!((record.id, &record.caller), (job.id, &job.caller));
    assert_eq!((&record.labels, &record.blobs), (&job.labels, &job.blobs));
    assert_eq!((&record.webhook, &record.key), (&job.webhook, &job.key));
    assert_eq!(read(&*ledger, job.id).await, record);
    assert_eq!(read(&*rig.other().await, job.id).await, record);
    let news = ledger.news(job.id, 0, 10).await.unwrap();
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].body, NewsBody::Queued { attempt: 1 });
}

/// An idempotency key gives the job of the first question, as it is now.
pub async fn the_same_key_and_question_give_the_same_job(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let first = made(&*ledger, keyed("a", "k", "q")).await;
    let claimed = claim(&*ledger, 1).await.remove(0);
    let again = rig.other().await.create(keyed("a", "k", "q")).await.unwrap();
    assert_eq!(again, Created::Existing(Box::new(claimed)));
    assert_eq!(ledger.stats().await.unwrap().waiting.values().sum::<u64>(), 0);
    assert_eq!(first.schema, SCHEMA);
}

/// A key stands for one question.
pub async fn a_key_for_another_question_is_refused(rig: &dyn Rig) {
    let ledger = rig.ledger();
    made(&*ledger, keyed("a", "k", "q")).await;
    let other = keyed("a", "k", "another");
    let id = other.id;
    assert_eq!(ledger.create(other).await.unwrap(), Created::KeyReused);
    assert_eq!(ledger.get(id).await.unwrap(), None);
    assert_eq!(claim(&*ledger, 9).await.len(), 1);
}

/// Another caller's key is another key, and a key is forgotten after its time.
pub async fn keys_are_per_caller_and_for_a_while(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let short = |caller: &str, question: &str| {
        let mut job = keyed(caller, "k", question);
        if let Some(idempotency) = &mut job.idempotency {
            idempotency.keep = rig.unit();
        }
        job
    };
    let first = made(&*ledger, short("a", "q")).await;
    let second = made(&*ledger, short("b", "another")).await;
    rig.pass(rig.unit() * 2).await;
    let third = made(&*ledger, short("a", "a third")).await;
    assert!(first.id != second.id && second.id != third.id);
    // The key is the third job's now: forgetting the first leaves it.
    apply(&*ledger, first.id, Move::Cancel).await.unwrap();
    assert!(ledger.erase(first.id).await.unwrap());
    let again = ledger.create(short("a", "a third")).await.unwrap();
    assert!(matches!(again, Created::Existing(job) if job.id == third.id));
}

/// Of many equal questions at once, one makes a job; the others get it.
pub async fn concurrent_duplicates_make_one_job(rig: &dyn Rig) {
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let ledger = if n % 2 == 0 { rig.ledger() } else { rig.other().await };
        asking.spawn(async move { ledger.create(keyed("a", "k", "q")).await.unwrap() });
    }
    let (mut new, mut got) = (0, Vec::new());
    while let Some(answer) = asking.join_next().await {
        match answer.unwrap() {
            Created::New(job) => {
                new += 1;
                got.push(job.id);
            }
            Created::Existing(job) => got.push(job.id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(new, 1);
    assert_eq!(got.len(), 20);
    assert!(got.iter().all(|id| *id == got[0]));
    assert_eq!(claim(&*rig.ledger(), 9).await.len(), 1);
}

/// The id is fresh for each job, so the same id is the same job: an answer that was lost can be asked for.
pub async fn a_creation_can_be_asked_again(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = new_job("a");
    let first = made(&*ledger, job.clone()).await;
    let again = rig.other().await.create(job).await.unwrap();
    assert_eq!(again, Created::Existing(Box::new(first)));
    assert_eq!(claim(&*ledger, 9).await.len(), 1);
}

/// A full queue says how full it is, and nothing of the refused job stays, its key included.
pub async fn a_full_queue_refuses_and_keeps_nothing(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let small = |job: NewJob| NewJob { max_waiting: 3, ..job };
    made(&*ledger, small(keyed("a", "first", "q"))).await;
    made(&*ledger, small(new_job("a"))).await;
    let mut delayed = small(new_job("b"));
    delayed.delay = LONG / 2;
    made(&*ledger, delayed).await;
    let refused = small(keyed("c", "k", "q"));
    let id = refused.id;
    assert_eq!(
        ledger.create(refused.clone()).await.unwrap(),
        Created::Full { waiting: 3 }
    );
    assert_eq!(ledger.get(id).await.unwrap(), None);
    assert!(ledger.news(id, 0, 9).await.unwrap().is_empty());
    let listed = ledger
        .list(&Filter {
            limit: 9,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(listed.jobs.len(), 3);
    // A known key is answered, and a job that does not wait is taken, however full the queue is.
    let known = ledger.create(small(keyed("a", "first", "q"))).await.unwrap();
    assert!(matches!(known, Created::Existing(_)));
    let mut over = small(new_job("c"));
    over.outcome = Some(Outcome::rejected(Reason::FindingsBlock, ""));
    made(&*ledger, over).await;
    claim(&*ledger, 1).await;
    made(&*ledger, refused).await;
}

/// A job that the policy refused is remembered with its end, and no worker sees it.
pub async fn a_job_over_at_its_creation_never_waits(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let outcome = Outcome::rejected(Reason::FindingsBlock, "");
    let mut job = keyed("a", "k", "q");
    job.outcome = Some(outcome.clone());
    let record = made(&*ledger, job).await;
    assert_eq!(record.outcome(), Some(&outcome));
    assert!(record.finished_at.is_some());
    assert!(claim(&*ledger, 1).await.is_empty());
    assert_eq!(ledger.position(record.id).await.unwrap(), None);
    assert!(ledger.overdue(9).await.unwrap().is_empty());
    assert_eq!(apply(&*ledger, record.id, Move::Cancel).await, Err(Refusal::Settled));
    let news = ledger.news(record.id, 0, 9).await.unwrap();
    assert!(matches!(
        news[..],
        [crate::record::News {
            seq: 1,
            body: NewsBody::Settled { .. },
            ..
        }]
    ));
}
