//! Who gets which job, and in which order.

use std::{collections::BTreeSet, sync::Arc};

use super::{LONG, Rig, claim, claim_for, claim_one, flood, ids, made, new_job, read, reap};
use crate::{
    job::{JobState, Stage},
    record::Priority,
};

/// However many workers ask at once, each job goes to one, and every job goes to somebody.
pub async fn a_job_has_one_holder(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let jobs: Vec<_> = (0..60).map(|n| new_job(&format!("caller {}", n % 7))).collect();
    let all: BTreeSet<_> = jobs.iter().map(|job| job.id).collect();
    flood(&ledger, jobs).await;
    let mut workers = tokio::task::JoinSet::new();
    for n in 0..12 {
        let ledger = if n % 2 == 0 { rig.ledger() } else { rig.other().await };
        workers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let jobs = claim_for(&*ledger, &format!("worker {n}"), 2, LONG).await;
                if jobs.is_empty() {
                    return mine;
                }
                for job in jobs {
                    assert_eq!(job.worker, Some(format!("worker {n}")));
                    mine.push(job.id);
                }
            }
        });
    }
    let mut claimed = Vec::new();
    while let Some(mine) = workers.join_next().await {
        claimed.extend(mine.unwrap());
    }
    assert_eq!(claimed.len(), all.len(), "each job was claimed once");
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), all);
}

/// Nobody gets more than the free slots, and none when there is none.
pub async fn a_claim_gives_at_most_what_was_asked(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for _ in 0..5 {
        made(&*ledger, new_job("a")).await;
    }
    assert!(claim(&*ledger, 0).await.is_empty());
    let three = claim(&*ledger, 3).await;
    assert_eq!(three.len(), 3);
    for job in three {
        let JobState::Running { token, attempt, stage } = job.state else {
            panic!("a claimed job runs: {job:?}");
        };
        assert_eq!((token, attempt, stage), (job.token, 1, Stage::Resolve));
        assert_eq!(read(&*ledger, job.id).await, job, "what was given is what is stored");
    }
    assert_eq!(claim(&*ledger, 9).await.len(), 2);
    assert!(claim(&*ledger, 9).await.is_empty());
}

/// High before normal before low, whoever came first.
pub async fn higher_priorities_go_first(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for priority in [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Low,
        Priority::High,
    ] {
        made(
            &*ledger,
            crate::ledger::NewJob {
                priority,
                ..new_job("a")
            },
        )
        .await;
    }
    let order: Vec<_> = claim(&*ledger, 5).await.iter().map(|job| job.priority).collect();
    use Priority::{High, Low, Normal};
    assert_eq!(order, [High, High, Normal, Low, Low]);
}

/// A thousand jobs of one caller stand before nobody: another's first job is among the next two.
pub async fn a_flood_of_one_caller_delays_another_by_one_job(rig: &dyn Rig) {
    let ledger = rig.ledger();
    flood(&ledger, (0..1_000).map(|_| new_job("greedy")).collect()).await;
    for round in 0..3 {
        let modest = made(&*rig.other().await, new_job("modest")).await;
        let next = claim(&*ledger, 2).await;
        assert!(ids(&next).contains(&modest.id), "round {round}");
        assert_eq!(claim(&*ledger, 20).await.len(), 20);
    }
}

/// Jobs of callers who all wait are claimed in turns.
pub async fn callers_take_turns(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for caller in ["a", "a", "a", "b", "b", "b", "c", "c", "c"] {
        made(&*ledger, new_job(caller)).await;
    }
    let order: Vec<_> = claim(&*ledger, 9).await.into_iter().map(|job| job.caller).collect();
    for turn in order.chunks(3) {
        let callers: BTreeSet<_> = turn.iter().map(String::as_str).collect();
        assert_eq!(callers, BTreeSet::from(["a", "b", "c"]), "{order:?}");
    }
}

/// First come, first served, within one caller.
pub async fn a_callers_jobs_go_in_the_order_they_came(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut order = Vec::new();
    for n in 0..20 {
        let through = if n % 2 == 0 { rig.ledger() } else { rig.other().await };
        order.push(made(&*through, new_job("a")).await.id);
    }
    let mut claimed = Vec::new();
    for slots in [1, 4, 1, 9, 5] {
        claimed.extend(ids(&claim(&*ledger, slots).await));
    }
    assert_eq!(claimed, order);
}

/// A delayed job waits for its time, and has no position until then.
pub async fn a_delay_is_honoured(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut delayed = new_job("a");
    delayed.delay = rig.unit() * 3;
    let delayed = made(&*ledger, delayed).await;
    let prompt = made(&*ledger, new_job("a")).await;
    assert_eq!(ledger.position(delayed.id).await.unwrap(), None);
    assert_eq!(ids(&claim(&*ledger, 9).await), [prompt.id]);
    rig.pass(rig.unit() * 4).await;
    assert_eq!(ledger.position(delayed.id).await.unwrap(), Some(0));
    assert_eq!(ids(&claim(&*ledger, 9).await), [delayed.id]);
}

/// Jobs whose delay ends together stand behind those who wait, in turns with other callers.
pub async fn a_delayed_flood_overtakes_nobody(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let jobs = (0..200).map(|_| {
        let mut job = new_job("greedy");
        job.delay = rig.unit() * 2;
        job
    });
    flood(&ledger, jobs.collect()).await;
    let mut waiting = BTreeSet::new();
    for _ in 0..3 {
        waiting.insert(made(&*ledger, new_job("modest")).await.id);
    }
    rig.pass(rig.unit() * 4).await;
    let first: BTreeSet<_> = ids(&claim(&*ledger, 6).await).into_iter().collect();
    assert!(first.is_superset(&waiting), "one turn each");
    let late = made(&*ledger, new_job("modest")).await;
    assert!(ids(&claim(&*ledger, 2).await).contains(&late.id));
    let mut rest = 0;
    while let n @ 1.. = claim(&*ledger, 50).await.len() {
        rest += n;
    }
    assert_eq!(rest, 204 - 8);
}

/// A job that can no longer end in time is left to the reaper and does not hold up the queue.
pub async fn a_job_past_its_deadline_is_not_claimed_and_blocks_nobody(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut brief = new_job("a");
    brief.life = rig.unit();
    let brief = made(&*ledger, brief).await;
    let lasting = made(&*ledger, new_job("a")).await;
    rig.pass(rig.unit() * 2).await;
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.extend(ids(&claim(&*ledger, 1).await));
    }
    assert_eq!(claimed, [lasting.id]);
    reap(&*ledger).await;
    assert!(read(&*ledger, brief.id).await.outcome().is_some());
}

/// The position is the number of jobs that go first.
pub async fn a_position_counts_the_jobs_before(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(made(&*ledger, new_job("a")).await.id);
    }
    let mut urgent = new_job("b");
    urgent.priority = Priority::High;
    let urgent = made(&*ledger, urgent).await.id;
    assert_eq!(ledger.position(urgent).await.unwrap(), Some(0));
    for (n, id) in (1..).zip(&waiting) {
        assert_eq!(ledger.position(*id).await.unwrap(), Some(n));
    }
    assert_eq!(claim_one(&*ledger).await.id, urgent);
    assert_eq!(claim_one(&*ledger).await.id, waiting[0]);
    let other: Arc<dyn crate::ledger::Ledger> = rig.other().await;
    assert_eq!(other.position(waiting[0]).await.unwrap(), None, "it runs");
    assert_eq!(other.position(waiting[3]).await.unwrap(), Some(2));
}
