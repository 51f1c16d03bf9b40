//! Whatever is done, the ledger in the file answers as the one in memory, and its numbers are true.

use std::time::Duration;

use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    job::{Ending, Outcome, Reason},
    ledger::{Claim, Created, Filter, Ledger, NewJob, StateFilter},
    record::{JobRecord, Kept, Move, Priority, Refusal},
    testing::ledger::{BUDGETS, LONG, Rig as _, new_job},
};
use seatrial_store::ledger::memory::MemoryLedger;

use super::rig;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[tokio::test]
async fn it_answers_as_the_ledger_in_memory() {
    // Time stands still unless we let it pass, for both.
    tokio::time::pause();
    for seed in 1..=6 {
        let rig = rig().await;
        let memory = MemoryLedger::new(BUDGETS);
        let mut dice = Dice(seed);
        let mut held: Vec<JobRecord> = Vec::new();
        let mut known: Vec<JobId> = Vec::new();
        for step in 0..250 {
            let sqlite: &dyn Ledger = if dice.below(2) == 0 { &*rig.ledger } else { &*rig.other };
            let context = format!("seed {seed}, step {step}");
            match dice.below(10) {
                0..=3 => {
                    let job = random_job(&mut dice);
                    known.push(job.id);
                    let answers = (sqlite.create(job.clone()).await, memory.create(job).await);
                    let answers = (answers.0.unwrap(), answers.1.unwrap());
                    match (&answers.0, &answers.1) {
                        (Created::New(a), Created::New(b)) => assert_eq!(timeless(a), timeless(b), "{context}"),
                        (a, b) => assert_eq!(a, b, "{context}"),
                    }
                }
                4..=5 => {
                    let claim = Claim {
                        worker: "ann".into(),
                        slots: 1 + dice.below(4) as usize,
                        lease: Duration::from_secs(35),
                    };
                    let (a, b) = (sqlite.claim(&claim).await.unwrap(), memory.claim(&claim).await.unwrap());
                    let view = |jobs: &[JobRecord]| jobs.iter().map(timeless).collect::<Vec<_>>();
                    assert_eq!(view(&a), view(&b), "{context}");
                    held.extend(a);
                }
                6 => {
                    // Times of both end in 5 s, steps in 0 s: they agree on what is over.
                    let time = Duration::from_secs(10);
                    rig.pass(time).await;
                    tokio::time::advance(time).await;
                }
                7 => {
                    let (mut a, mut b) = (sqlite.overdue(99).await.unwrap(), memory.overdue(99).await.unwrap());
                    a.sort_unstable();
                    b.sort_unstable();
                    assert_eq!(a, b, "{context}");
                    for id in a {
                        same(sqlite, &memory, id, Move::Reap(BUDGETS), &context).await;
                    }
                }
                _ => {
                    let Some(what) = random_move(&mut dice, &held, &known) else {
                        continue;
                    };
                    same(sqlite, &memory, what.0, what.1, &context).await;
                }
            }
        }
        compare(&*rig.ledger, &memory, &known).await;
        the_numbers_are_true(&rig).await;
    }
}

fn random_job(dice: &mut Dice) -> NewJob {
    let mut job = new_job(["a", "b", "c"][dice.below(3) as usize]);
    job.priority = Priority::ALL[dice.below(3) as usize];
    job.wait = [LONG, Duration::from_secs(45)][dice.below(2) as usize];
    job.life = [LONG, Duration::from_secs(125)][dice.below(2) as usize];
    job.delay = Duration::from_secs([0, 0, 15][dice.below(3) as usize]);
    job.max_waiting = 60;
    if dice.below(3) == 0 {
        job.webhook = Some("https://example.org".into());
    }
    if dice.below(9) == 0 {
        job.outcome = Some(Outcome::rejected(Reason::FindingsBlock, ""));
    }
    job
}

fn random_move(dice: &mut Dice, held: &[JobRecord], known: &[JobId]) -> Option<(JobId, Move)> {
    let pick = |dice: &mut Dice, len: usize| (len > 0).then(|| dice.below(len as u64) as usize);
    if dice.below(4) == 0 {
        return Some((known[pick(dice, known.len())?], Move::Cancel));
    }
    let job = &held[pick(dice, held.len())?];
    let (token, outcome) = (job.token, Outcome::errored(Reason::EngineGone, ""));
    let what = match dice.below(4) {
        0 => Move::Settle {
            token,
            outcome,
            kept: Kept::default(),
        },
        1 => Move::Fault {
            token,
            outcome,
            budget: 3,
            after: Duration::from_secs(25),
            kept: Kept::default(),
        },
        2 => Move::HandBack {
            token,
            after: Duration::from_secs(25 * dice.below(2)),
        },
        _ => Move::Renew {
            token,
            lease: Duration::from_secs(55),
        },
    };
    Some((job.id, what))
}

async fn same(sqlite: &dyn Ledger, memory: &MemoryLedger, id: JobId, what: Move, context: &str) {
    let answers = (sqlite.apply(id, what.clone()).await, memory.apply(id, what).await);
    let view = |answer: Result<JobRecord, Refusal>| answer.map(|record| timeless(&record));
    assert_eq!(view(answers.0.unwrap()), view(answers.1.unwrap()), "{context}");
}

async fn compare(sqlite: &dyn Ledger, memory: &MemoryLedger, known: &[JobId]) {
    for id in known {
        let records = (sqlite.get(*id).await.unwrap(), memory.get(*id).await.unwrap());
        assert_eq!(records.0.as_ref().map(timeless), records.1.as_ref().map(timeless));
        let news = (
            sqlite.news(*id, 0, 999).await.unwrap(),
            memory.news(*id, 0, 999).await.unwrap(),
        );
        assert_eq!(news.0.len(), news.1.len());
        assert_eq!(sqlite.delivery(*id).await.unwrap(), memory.delivery(*id).await.unwrap());
    }
    let stats = (sqlite.stats().await.unwrap(), memory.stats().await.unwrap());
    assert_eq!((&stats.0.waiting, stats.0.running), (&stats.1.waiting, stats.1.running));
}

async fn the_numbers_are_true(rig: &super::Sqlite) {
    super::the_tallies_are_true(&rig.path());
    let stats = rig.ledger.stats().await.unwrap();
    let count = async |state| {
        let filter = Filter {
            state: Some(state),
            limit: 999,
            ..Filter::default()
        };
        rig.ledger.list(&filter).await.unwrap().jobs.len() as u64
    };
    assert_eq!(stats.waiting.values().sum::<u64>(), count(StateFilter::Queued).await);
    assert_eq!(stats.running, count(StateFilter::Running).await);
    assert!(count(StateFilter::Ended(Ending::Cancelled)).await > 0);
}

/// A record without its times: the two clocks differ by milliseconds.
fn timeless(record: &JobRecord) -> JobRecord {
    let never = Timestamp::UNIX_EPOCH;
    JobRecord {
        created_at: never,
        not_before: never,
        expires_at: record.expires_at.map(|_| never),
        deadline_at: never,
        started_at: record.started_at.map(|_| never),
        finished_at: record.finished_at.map(|_| never),
        lease_until: record.lease_until.map(|_| never),
        ..record.clone()
    }
}
