//! What every [`Ledger`] must do, as facts that a test of each adapter calls.
//!
//! A crate with a ledger writes a [`Rig`] for it and one line: `seatrial_core::ledger_contract!(make_rig);`
//! where `make_rig` is an async function that gives a rig with an empty store. Each fact becomes a test.
//!
//! Facts that need time to go by take it in [`Rig::unit`]s, so a ledger whose clock cannot be set runs
//! them in real time. Nothing here asks a call to be quick, apart from [`waking`], which takes the best of
//! three rounds.

#![expect(clippy::unwrap_used, reason = "facts are called by tests alone")]

pub mod claims;
pub mod creation;
pub mod ends;
pub mod leases;
pub mod lists;
pub mod outbox;
pub mod schema;
pub mod waking;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    digest::Digest,
    id::{CorrelationId, JobId},
    job::Outcome,
    ledger::{Claim, Created, Ledger, NewJob},
    record::{Budgets, JobRecord, Kept, Move, Priority, Refusal},
    vault::WrappedKey,
    view::DockerfileView,
};

/// Budgets that a rig opens its ledgers with: facts wait for the grace and use up the losses.
pub const BUDGETS: Budgets = Budgets {
    losses: 2,
    grace: Duration::from_millis(200),
};

/// Longer than any fact takes.
pub const LONG: Duration = Duration::from_secs(3_600);

/// A ledger under test.
#[async_trait]
pub trait Rig: Send + Sync {
    /// The ledger, opened with [`BUDGETS`]; the same handle each time.
    fn ledger(&self) -> Arc<dyn Ledger>;
    /// Another handle to the same store, as another process would have; the same each time.
    async fn other(&self) -> Arc<dyn Ledger>;
    /// A span that is long for the store: no single call takes so long.
    fn unit(&self) -> Duration {
        Duration::from_secs(1)
    }
    /// Lets the ledger's time go by.
    async fn pass(&self, time: Duration);
    /// The stored record's JSON.
    async fn stored(&self, id: JobId) -> String;
    /// Puts another text in the record's place, as another version of Seatrial would: what is derived
    /// from `schema` in it follows, the rest of the job's index stays.
    async fn store(&self, id: JobId, record: String);
}

/// Makes a test of each fact. Takes an async function that makes a rig.
#[macro_export]
macro_rules! ledger_contract {
    ($make_rig:expr) => {
        $crate::ledger_contract! { @facts $make_rig;
            claims: a_job_has_one_holder,
            claims: a_claim_gives_at_most_what_was_asked,
            claims: higher_priorities_go_first,
            claims: a_flood_of_one_caller_delays_another_by_one_job,
            claims: callers_take_turns,
            claims: a_callers_jobs_go_in_the_order_they_came,
            claims: a_delay_is_honoured,
            claims: a_delayed_flood_overtakes_nobody,
            claims: a_job_past_its_deadline_is_not_claimed_and_blocks_nobody,
            claims: a_position_counts_the_jobs_before,
            creation: a_job_reads_back_as_it_was_made,
            creation: the_same_key_and_question_give_the_same_job,
            creation: a_key_for_another_question_is_refused,
            creation: keys_are_per_caller_and_for_a_while,
            creation: concurrent_duplicates_make_one_job,
            creation: a_creation_can_be_asked_again,
            creation: a_full_queue_refuses_and_keeps_nothing,
            creation: a_job_over_at_its_creation_never_waits,
            ends: a_waiting_job_is_cancelled_at_once,
            ends: a_running_job_is_asked_to_end,
            ends: nothing_is_settled_twice,
            ends: a_wait_that_is_over_expires,
            ends: a_deadline_ends_a_running_job_after_the_grace,
            ends: lost_leases_beyond_the_budget_end_a_job,
            ends: what_is_not_due_is_not_reaped,
            ends: the_longest_overdue_comes_first,
            ends: erasing_forgets_all_of_a_job,
            ends: what_is_not_settled_is_not_erased,
            ends: settled_jobs_are_found_by_age,
            ends: an_unknown_job_is_unknown_everywhere,
            leases: a_lost_lease_gives_the_job_to_another_with_a_higher_token,
            leases: late_writes_are_fenced,
            leases: a_renewed_lease_holds,
            leases: a_job_handed_back_goes_first_and_keeps_its_attempt,
            leases: a_fault_is_tried_again_after_its_back_off,
            leases: a_settlement_keeps_what_the_worker_stored,
            leases: two_workers_cannot_claim_one_job_by_its_id,
            lists: news_are_numbered_without_gaps_and_resume,
            lists: the_newest_job_is_listed_first,
            lists: pages_neither_skip_nor_repeat_while_jobs_arrive,
            lists: each_filter_filters,
            lists: a_rare_match_is_found_behind_many_others,
            lists: the_queue_is_counted,
            lists: workers_are_seen_and_forgotten,
            outbox: a_delivery_is_written_with_the_settlement,
            outbox: every_kind_of_end_writes_a_delivery,
            outbox: a_delivery_is_held_by_one,
            outbox: a_failed_delivery_is_tried_again_and_a_dead_one_stays_visible,
            outbox: a_refused_settlement_writes_no_delivery,
            schema: a_newer_record_is_left_alone_and_blocks_nobody,
            schema: a_broken_record_blocks_nobody,
            schema: unknown_fields_survive_a_move,
            waking: work_wakes_a_waiting_worker,
            waking: a_move_wakes_who_watches_the_job,
            waking: work_that_came_before_the_wait_is_not_missed,
            waking: waits_end_by_themselves,
            waking: a_dropped_call_can_be_asked_again,
        }
    };
    (@facts $make_rig:expr; $($group:ident: $fact:ident,)*) => {
        $(
            #[tokio::test]
            async fn $fact() {
                let rig = $make_rig().await;
                $crate::testing::ledger::$group::$fact(&rig).await;
            }
        )*
    };
}

/// A job of this caller that waits until somebody claims it.
#[must_use]
pub fn new_job(caller: &str) -> NewJob {
    NewJob {
        id: JobId::fresh(),
        caller: caller.to_owned(),
        priority: Priority::Normal,
        correlation_id: CorrelationId::accept_or_fresh("contract"),
        traceparent: None,
        labels: BTreeMap::new(),
        dockerfile: DockerfileView {
            digest: Digest::of(caller.as_bytes()),
            bytes: 7,
        },
        key: WrappedKey("ring.a2V5".into()),
        blobs: BTreeMap::new(),
        webhook: None,
        delay: Duration::ZERO,
        wait: LONG,
        life: LONG,
        outcome: None,
        idempotency: None,
        max_waiting: 1_000_000,
    }
}

/// Creates a job that must be new.
///
/// # Panics
/// When it is not.
pub async fn made(ledger: &dyn Ledger, job: NewJob) -> JobRecord {
    match ledger.create(job).await.unwrap() {
        Created::New(record) => *record,
        other => panic!("not a new job: {other:?}"),
    }
}

/// Creates many jobs in this order, some at a time where the order does not matter to the fact.
async fn flood(ledger: &Arc<dyn Ledger>, jobs: Vec<NewJob>) {
    let mut tasks = tokio::task::JoinSet::new();
    for job in jobs {
        while tasks.len() >= 64 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let ledger = Arc::clone(ledger);
        tasks.spawn(async move {
            made(&*ledger, job).await;
        });
    }
    while let Some(end) = tasks.join_next().await {
        end.unwrap();
    }
}

/// Claims up to `slots` jobs with a lease that outlasts the fact.
async fn claim(ledger: &dyn Ledger, slots: usize) -> Vec<JobRecord> {
    claim_for(ledger, "ann", slots, LONG).await
}

async fn claim_for(ledger: &dyn Ledger, worker: &str, slots: usize, lease: Duration) -> Vec<JobRecord> {
    let claim = Claim {
        worker: worker.to_owned(),
        slots,
        lease,
    };
    ledger.claim(&claim).await.unwrap()
}

/// Claims exactly one job.
async fn claim_one(ledger: &dyn Ledger) -> JobRecord {
    let mut jobs = claim(ledger, 1).await;
    assert_eq!(jobs.len(), 1, "one job waits");
    jobs.remove(0)
}

async fn apply(ledger: &dyn Ledger, id: JobId, what: Move) -> Result<JobRecord, Refusal> {
    ledger.apply(id, what).await.unwrap()
}

/// Ends a held job well.
async fn settle(ledger: &dyn Ledger, held: &JobRecord) -> Result<JobRecord, Refusal> {
    apply(ledger, held.id, settlement(held)).await
}

fn settlement(held: &JobRecord) -> Move {
    Move::Settle {
        token: held.token,
        outcome: succeeded(),
        kept: Kept::default(),
    }
}

fn succeeded() -> Outcome {
    use crate::job::{Blame, Ending, Reason};
    Outcome::new(Ending::Succeeded, Reason::Ok, Blame::Nobody, "")
}

/// Reaps as any process would: everything overdue, once.
async fn reap(ledger: &dyn Ledger) -> Vec<JobId> {
    let overdue = ledger.overdue(100).await.unwrap();
    for id in &overdue {
        let _ = apply(ledger, *id, Move::Reap(ledger.budgets())).await;
    }
    overdue
}

async fn read(ledger: &dyn Ledger, id: JobId) -> JobRecord {
    ledger.get(id).await.unwrap().unwrap()
}

fn ids(jobs: &[JobRecord]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}
