//! What can be asked about jobs and workers.

use std::{collections::BTreeMap, sync::Arc};

use super::{Rig, apply, claim, claim_one, flood, ids, made, new_job, settle};
use crate::{
    id::JobId,
    job::{Ending, Stage},
    ledger::{Filter, Ledger, NewJob, StateFilter, WorkerCard},
    record::{Batch, JobRecord, Move, NewsBody, Priority},
};

/// News are numbered from 1; a reader goes on where it stopped.
pub async fn news_are_numbered_without_gaps_and_resume(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, new_job("a")).await;
    let held = claim_one(&*ledger).await;
    for (n, stage) in [Stage::Build, Stage::Scan, Stage::Run].into_iter().enumerate() {
        let finished = NewsBody::StageFinished { stage, millis: 1 };
        let what = Move::Tell {
            token: held.token,
            news: Batch {
                before: 2 * n as u64,
                bodies: vec![NewsBody::StageStarted { stage }, finished],
            },
            logs: BTreeMap::new(),
            asked: None,
        };
        apply(&*ledger, job.id, what.clone()).await.unwrap();
        // Its answer was lost.
        apply(&*ledger, job.id, what).await.unwrap();
    }
    settle(&*ledger, &held).await.unwrap();
    let all = rig.other().await.news(job.id, 0, 99).await.unwrap();
    let numbers: Vec<_> = all.iter().map(|news| news.seq).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<u64>>());
    assert_eq!(all[0].body, NewsBody::Queued { attempt: 1 });
    assert!(matches!(all[8].body, NewsBody::Settled { .. }));
    assert!(all.is_sorted_by_key(|news| news.at));
    assert_eq!(ledger.news(job.id, 3, 2).await.unwrap(), all[3..5]);
    assert_eq!(ledger.news(job.id, 8, 99).await.unwrap(), all[8..]);
    assert!(ledger.news(job.id, 9, 99).await.unwrap().is_empty());
    assert!(ledger.news(job.id, u64::MAX, 99).await.unwrap().is_empty());
}

fn first(limit: usize) -> Filter {
    Filter {
        limit,
        ..Filter::default()
    }
}

/// All pages of a filter, in order.
async fn pages(ledger: &dyn Ledger, mut filter: Filter) -> Vec<JobRecord> {
    let mut jobs = Vec::new();
    for _ in 0..200 {
        let page = ledger.list(&filter).await.unwrap();
        assert!(page.jobs.len() <= filter.limit);
        jobs.extend(page.jobs);
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return jobs,
        }
    }
    panic!("the list has no end");
}

/// Ids sort by time: the newest is the greatest.
pub async fn the_newest_job_is_listed_first(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(made(&*ledger, new_job("a")).await.id);
    }
    expected.sort_by(|a, b| b.cmp(a));
    let page = rig.other().await.list(&first(9)).await.unwrap();
    assert_eq!(ids(&page.jobs), expected);
    assert_eq!(page.next, None);
    let page = ledger.list(&first(2)).await.unwrap();
    assert_eq!(ids(&page.jobs), expected[..2]);
    assert_eq!(page.next, Some(expected[1]));
}

/// Jobs that come, move and go between two pages make no other job appear twice or not at all.
pub async fn pages_neither_skip_nor_repeat_while_jobs_arrive(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut known = Vec::new();
    for n in 0..23 {
        known.push(made(&*ledger, new_job(["a", "b"][n % 2])).await.id);
    }
    known.sort_by(|a, b| b.cmp(a));
    let mut filter = first(5);
    let (mut seen, mut late) = (Vec::new(), Vec::new());
    loop {
        let page = ledger.list(&filter).await.unwrap();
        seen.extend(ids(&page.jobs));
        late.push(made(&*rig.other().await, new_job("late")).await.id);
        // The job where the next page begins may move, or be gone.
        if let Some(last) = page.jobs.last() {
            apply(&*ledger, last.id, Move::Cancel).await.unwrap();
            assert!(ledger.erase(last.id).await.unwrap());
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    // Ids of one millisecond are in no order, so a late one may stand on a later page.
    seen.retain(|id| !late.contains(id));
    assert_eq!(seen, known);
}

/// Each filter takes what it names, alone and together with others.
pub async fn each_filter_filters(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let labelled = |caller: &str, value: &str| NewJob {
        labels: BTreeMap::from([("team".to_owned(), value.to_owned()), ("x".to_owned(), "y".to_owned())]),
        ..new_job(caller)
    };
    let settled = made(&*ledger, labelled("a", "blue")).await.id;
    let held = claim_one(&*ledger).await;
    settle(&*ledger, &held).await.unwrap();
    let running = made(&*ledger, labelled("b", "blue")).await.id;
    claim_one(&*ledger).await;
    rig.pass(rig.unit()).await;
    let cut = ledger.now().await.unwrap();
    rig.pass(rig.unit()).await;
    let cancelled = made(&*ledger, new_job("a")).await.id;
    apply(&*ledger, cancelled, Move::Cancel).await.unwrap();
    let queued = made(&*ledger, labelled("a", "red")).await.id;
    let mut low = labelled("b", "red");
    low.priority = Priority::Low;
    let low = made(&*ledger, low).await.id;
    let mut delayed = new_job("b");
    delayed.delay = super::LONG / 2;
    let delayed = made(&*ledger, delayed).await.id;

    let team = |value: &str| Some(("team".to_owned(), value.to_owned()));
    let state = |state| Filter {
        state: Some(state),
        ..first(2)
    };
    let a = Filter {
        caller: Some("a".into()),
        ..first(2)
    };
    let cases: [(Filter, &[JobId]); 14] = [
        (first(2), &[settled, running, cancelled, queued, low, delayed]),
        (a.clone(), &[settled, cancelled, queued]),
        (
            Filter {
                caller: Some("z".into()),
                ..first(2)
            },
            &[],
        ),
        (state(StateFilter::Queued), &[queued, low, delayed]),
        (state(StateFilter::Running), &[running]),
        (state(StateFilter::Ended(Ending::Succeeded)), &[settled]),
        (state(StateFilter::Ended(Ending::Cancelled)), &[cancelled]),
        (state(StateFilter::Ended(Ending::Failed)), &[]),
        (
            Filter {
                label: team("blue"),
                ..first(1)
            },
            &[settled, running],
        ),
        (
            Filter {
                label: Some(("team".into(), "y".into())),
                ..first(2)
            },
            &[],
        ),
        (
            Filter {
                since: Some(cut),
                ..first(2)
            },
            &[cancelled, queued, low, delayed],
        ),
        (
            Filter {
                state: Some(StateFilter::Queued),
                ..a.clone()
            },
            &[queued],
        ),
        (
            Filter {
                label: team("red"),
                ..a.clone()
            },
            &[queued],
        ),
        (
            Filter {
                since: Some(cut),
                label: team("red"),
                state: Some(StateFilter::Queued),
                ..first(1)
            },
            &[queued, low],
        ),
    ];
    for (filter, expected) in cases {
        let mut expected = expected.to_vec();
        expected.sort_by(|a, b| b.cmp(a));
        assert_eq!(ids(&pages(&*ledger, filter.clone()).await), expected, "{filter:?}");
    }
}

/// A match behind many others is found, on whichever page.
pub async fn a_rare_match_is_found_behind_many_others(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut rare = new_job("rare");
    rare.labels.insert("rare".into(), "yes".into());
    let rare = made(&*ledger, rare).await.id;
    flood(&ledger, (0..300).map(|_| new_job("many")).collect()).await;
    for filter in [
        Filter {
            caller: Some("rare".into()),
            ..first(5)
        },
        Filter {
            label: Some(("rare".into(), "yes".into())),
            ..first(5)
        },
        Filter {
            caller: Some("rare".into()),
            state: Some(StateFilter::Queued),
            ..first(5)
        },
    ] {
        assert_eq!(ids(&pages(&*ledger, filter).await), [rare]);
    }
}

/// Waiting and running jobs are counted, and the age of the first in each queue is known.
pub async fn the_queue_is_counted(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let stats = ledger.stats().await.unwrap();
    assert_eq!((stats.waiting.values().sum::<u64>(), stats.running), (0, 0));
    assert!(stats.oldest_s.is_empty());
    let with = |priority| NewJob {
        priority,
        ..new_job("a")
    };
    made(&*ledger, with(Priority::Low)).await;
    rig.pass(rig.unit() * 2).await;
    for priority in [Priority::Low, Priority::High, Priority::High] {
        made(&*ledger, with(priority)).await;
    }
    let mut delayed = with(Priority::Normal);
    delayed.delay = super::LONG / 2;
    made(&*ledger, delayed).await;
    let stats = rig.other().await.stats().await.unwrap();
    let count = |stats: &crate::ledger::Stats, priority| stats.waiting.get(&priority).copied().unwrap_or(0);
    assert_eq!(Priority::ALL.map(|priority| count(&stats, priority)), [2, 1, 2]);
    assert_eq!(stats.running, 0);
    // The host's clock may be set back a little meanwhile; the second of the two has no age to speak of.
    let almost = (rig.unit() * 2).as_secs_f64() * 0.9;
    assert!(stats.oldest_s[&Priority::Low] >= almost, "{stats:?}");
    assert!(stats.oldest_s[&Priority::High] < stats.oldest_s[&Priority::Low]);
    let held = claim(&*ledger, 3).await;
    let stats = ledger.stats().await.unwrap();
    assert_eq!(Priority::ALL.map(|priority| count(&stats, priority)), [0, 1, 1]);
    assert_eq!(stats.running, 3);
    assert!(!stats.oldest_s.contains_key(&Priority::High));
    settle(&*ledger, &held[0]).await.unwrap();
    apply(
        &*ledger,
        held[1].id,
        Move::HandBack {
            token: held[1].token,
            after: std::time::Duration::ZERO,
        },
    )
    .await
    .unwrap();
    let stats = ledger.stats().await.unwrap();
    assert_eq!((count(&stats, Priority::High), stats.running), (1, 1));
}

/// A worker that beats is seen; one that went, or was not heard of, is not.
pub async fn workers_are_seen_and_forgotten(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let card = |name: &str| WorkerCard {
        name: name.to_owned(),
        host: "host".into(),
        version: "1".into(),
        slots: 4,
        busy: 1,
        draining: false,
        unfit: None,
        build_walls: None,
        walls: None,
        database_updated_at: None,
        started_at: jiff::Timestamp::UNIX_EPOCH,
        seen_at: None,
    };
    ledger.beat(&card("bob"), rig.unit() * 3).await.unwrap();
    ledger.beat(&card("ann"), super::LONG).await.unwrap();
    ledger.beat(&card("eve"), super::LONG).await.unwrap();
    let other: Arc<dyn Ledger> = rig.other().await;
    let seen = other.workers().await.unwrap();
    let names: Vec<_> = seen.iter().map(|card| card.name.as_str()).collect();
    assert_eq!(names, ["ann", "bob", "eve"]);
    let now = ledger.now().await.unwrap();
    assert!(seen.iter().all(|card| card.seen_at.is_some_and(|at| at <= now)));
    let mut busy = card("ann");
    busy.busy = 3;
    other.beat(&busy, super::LONG).await.unwrap();
    ledger.leave("eve").await.unwrap();
    ledger.leave("nobody").await.unwrap();
    rig.pass(rig.unit() * 4).await;
    let seen = ledger.workers().await.unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].busy, 3);
    assert_eq!(
        WorkerCard {
            seen_at: None,
            ..seen[0].clone()
        },
        busy
    );
}
