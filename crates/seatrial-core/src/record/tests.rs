use super::*;
use crate::job::{Ending, Reason};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn new_job() -> NewJob {
    NewJob {
        id: JobId::fresh(),
        caller: String::new(),
        priority: Priority::Normal,
        correlation_id: CorrelationId::accept_or_fresh("test"),
        traceparent: None,
        labels: BTreeMap::new(),
        dockerfile: DockerfileView {
            digest: crate::digest::Digest::of(b""),
            bytes: 0,
        },
        key: WrappedKey("k.none".to_owned()),
        blobs: BTreeMap::new(),
        webhook: None,
        delay: Duration::ZERO,
        wait: Duration::from_secs(100),
        life: Duration::from_secs(1000),
        outcome: None,
        idempotency: None,
        max_waiting: 10,
    }
}

fn queued() -> JobRecord {
    new_job().begin(at(0)).0
}

fn claimed(record: &JobRecord, second: i64) -> JobRecord {
    let claim = Move::Claim {
        worker: "ann".to_owned(),
        lease: Duration::from_secs(10),
    };
    record.on(claim, at(second)).unwrap().record
}

fn reaped(record: &JobRecord, second: i64) -> Result<JobRecord, Refusal> {
    record
        .on(Move::Reap(Budgets::default()), at(second))
        .map(|moved| moved.record)
}

fn fault(record: &JobRecord, second: i64, budget: u32) -> JobRecord {
    let fault = Move::Fault {
        token: record.token,
        outcome: Outcome::errored(Reason::EngineGone, ""),
        budget,
        after: Duration::from_secs(5),
        kept: Kept::default(),
    };
    record.on(fault, at(second)).unwrap().record
}

fn ending(record: &JobRecord) -> Option<(Ending, Reason)> {
    record.outcome().map(|outcome| (outcome.ending, outcome.reason))
}

#[test]
fn a_lost_lease_counts_as_a_loss_and_not_as_a_failure() {
    let record = reaped(&claimed(&queued(), 1), 11).unwrap();
    assert_eq!((record.losses, record.failures), (1, 0));
    assert_eq!(record.state, JobState::Queued { attempt: 2 });
}

#[test]
fn a_lease_that_still_runs_is_not_reaped() {
    assert_eq!(reaped(&claimed(&queued(), 1), 10), Err(Refusal::NotDue));
}

#[test]
fn a_late_write_is_fenced() {
    let first = claimed(&queued(), 1);
    let second = claimed(&reaped(&first, 11).unwrap(), 12);
    let late = Move::Settle {
        token: first.token,
        outcome: Outcome::cancelled(),
        kept: Kept::default(),
    };
    assert_eq!(second.on(late, at(13)).unwrap_err(), Refusal::Fenced);
}

/// The answer to them may have been lost.
#[test]
fn news_that_were_heard_already_are_not_told_again_and_do_not_stop_the_end() {
    let held = claimed(&queued(), 1);
    let entered = |stage| NewsBody::StageStarted { stage };
    let token = held.token;
    let mut news = Batch {
        before: 0,
        bodies: vec![entered(Stage::Build), entered(Stage::Run)],
    };
    let tell = Move::Tell {
        token,
        news: news.clone(),
        logs: BTreeMap::new(),
        asked: None,
    };
    let told = held.on(tell, at(2)).unwrap().record;
    let late = NewsBody::Note { text: "x".to_owned() };
    news.bodies.extend([entered(Stage::Build), late.clone()]);
    let kept = Kept {
        news,
        ..Kept::default()
    };
    let outcome = Outcome::cancelled();
    let over = told.on(Move::Settle { token, outcome, kept }, at(3)).unwrap();
    assert_eq!(over.record.stage, Some(Stage::Run));
    assert!(over.record.outcome().is_some());
    assert_eq!(over.news.len(), 2, "the note and the end: {:?}", over.news);
    assert_eq!(over.news[0].body, late);
}

/// Each try counts its own.
#[test]
fn the_next_try_is_heard_from_its_first_news() {
    let tell = |held: &JobRecord| Move::Tell {
        token: held.token,
        news: Batch {
            before: 0,
            bodies: vec![NewsBody::StageStarted { stage: Stage::Build }],
        },
        logs: BTreeMap::new(),
        asked: None,
    };
    let first = claimed(&queued(), 1);
    let first = first.on(tell(&first), at(2)).unwrap().record;
    let second = claimed(&reaped(&first, 30).unwrap(), 31);
    let moved = second.on(tell(&second), at(32)).unwrap();
    assert_eq!(moved.news.len(), 1);
    assert_eq!(moved.record.stage, Some(Stage::Build));
}

#[test]
fn a_job_that_loses_worker_after_worker_ends_as_poison() {
    let mut record = queued();
    for turn in 0..6 {
        record = reaped(&claimed(&record, turn * 20), turn * 20 + 11).unwrap();
    }
    assert_eq!(ending(&record), Some((Ending::Errored, Reason::WorkersLost)));
}

#[test]
fn a_fault_of_ours_is_tried_again_after_its_back_off_until_the_budget_is_used_up() {
    let record = fault(&claimed(&queued(), 1), 2, 2);
    assert_eq!(record.not_before, at(7));
    let claim = Move::Claim {
        worker: "bob".to_owned(),
        lease: Duration::from_secs(10),
    };
    assert_eq!(record.on(claim, at(6)).unwrap_err(), Refusal::NotWaiting);
    let record = fault(&claimed(&record, 7), 8, 2);
    assert_eq!(ending(&record), Some((Ending::Errored, Reason::EngineGone)));
}

#[test]
fn handing_back_uses_up_no_attempt() {
    let record = claimed(&queued(), 1);
    let record = record
        .on(
            Move::HandBack {
                token: record.token,
                after: Duration::ZERO,
            },
            at(2),
        )
        .unwrap()
        .record;
    assert_eq!(record.state, JobState::Queued { attempt: 1 });
    assert_eq!((record.losses, record.failures), (0, 0));
}

#[test]
fn a_job_that_nobody_claims_expires() {
    assert_eq!(reaped(&queued(), 99), Err(Refusal::NotDue));
    assert_eq!(
        ending(&reaped(&queued(), 100).unwrap()),
        Some((Ending::Expired, Reason::QueueTime))
    );
}

#[test]
fn a_job_that_was_claimed_once_does_not_expire_but_ends_at_its_deadline() {
    let record = reaped(&claimed(&queued(), 1), 11).unwrap();
    assert_eq!(reaped(&record, 999), Err(Refusal::NotDue));
    assert_eq!(
        ending(&reaped(&record, 1000).unwrap()),
        Some((Ending::TimedOut, Reason::JobTime))
    );
}

#[test]
fn a_worker_that_renews_for_ever_is_overruled_after_deadline_and_grace() {
    let record = claimed(&queued(), 1);
    let renew = Move::Renew {
        token: record.token,
        lease: Duration::from_secs(10_000),
    };
    let record = record.on(renew, at(2)).unwrap().record;
    assert_eq!(reaped(&record, 1029), Err(Refusal::NotDue));
    assert_eq!(
        ending(&reaped(&record, 1030).unwrap()),
        Some((Ending::TimedOut, Reason::JobTime))
    );
    assert_eq!(record.index(Budgets::default().grace).due_at, Some(at(1030)));
}

#[test]
fn a_waiting_job_is_cancelled_at_once_and_a_running_one_by_its_worker() {
    assert_eq!(
        ending(&queued().on(Move::Cancel, at(1)).unwrap().record),
        Some((Ending::Cancelled, Reason::Cancelled))
    );
    let record = claimed(&queued(), 1).on(Move::Cancel, at(2)).unwrap().record;
    assert!(record.cancel && record.outcome().is_none());
    assert_eq!(record.on(Move::Cancel, at(3)).unwrap().news, []);
    let lost = reaped(&record, 20).unwrap();
    assert_eq!(ending(&lost), Some((Ending::Cancelled, Reason::Cancelled)));
}

#[test]
fn a_rejected_job_is_settled_from_its_first_moment() {
    let job = NewJob {
        outcome: Some(Outcome::rejected(Reason::FindingsBlock, "")),
        ..new_job()
    };
    let (record, news) = job.begin(at(0));
    assert_eq!(ending(&record), Some((Ending::Rejected, Reason::FindingsBlock)));
    assert_eq!(record.finished_at, Some(at(0)));
    assert_eq!(news.len(), 1);
    assert_eq!(record.index(Duration::ZERO), Index::default());
}

#[test]
fn news_are_numbered_without_gaps_and_hints_are_bounded() {
    let record = claimed(&queued(), 1);
    let tell = Move::Tell {
        token: record.token,
        news: Batch {
            before: 0,
            bodies: vec![NewsBody::Note { text: "x".to_owned() }; 3000],
        },
        logs: BTreeMap::new(),
        asked: None,
    };
    let moved = record.on(tell, at(2)).unwrap();
    assert_eq!(moved.news.first().map(|news| news.seq), Some(3));
    assert_eq!(moved.record.next_news, MAX_NEWS + 1);
}

#[test]
fn fields_of_a_newer_process_survive_an_older_one() {
    let mut stored = serde_json::to_value(queued()).unwrap();
    stored["invented_later"] = serde_json::json!({"a": 1});
    let record: JobRecord = serde_json::from_value(stored.clone()).unwrap();
    let kept = serde_json::to_value(claimed(&record, 1)).unwrap();
    assert_eq!(kept["invented_later"], stored["invented_later"]);
}

#[test]
fn a_stored_record_reads_back_as_it_was() {
    let record = claimed(&queued(), 1);
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<JobRecord>(&text).unwrap(), record);
}
