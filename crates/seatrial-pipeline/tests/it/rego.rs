//! The operator's checks in Rego: left by who takes jobs, worked out by who works on them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use jiff::Timestamp;
use seatrial_core::{
    finding::{Finding, Level, Span},
    job::{Ending, Reason},
};
use seatrial_dockerfile::Parsed;
use seatrial_pipeline::{
    admission::{self, Checks, LeftToTheWorker, NoChecks, Verdict},
    case::Settings,
    room::Room,
    service::worker::executor::Walker,
};
use seatrial_policy::{Checked, Policy, Rego};

use crate::service::House;

const GOOD: &str = "FROM busybox\nRUN true\n";

/// Says the same of every file, and counts.
struct Fake(Checked, AtomicUsize);

impl Checks for Fake {
    fn check(&self, _: &Rego, _: &Parsed) -> Checked {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clone()
    }
}

fn fake(checked: Checked) -> Fake {
    Fake(checked, AtomicUsize::new(0))
}

fn denying() -> Checked {
    Checked::Found(vec![Finding {
        rule: "rego:SHOP-1".into(),
        level: Level::Error,
        line: 2,
        column: 1,
        span: Span::default(),
        message: "not here".into(),
        remedy: "Do it otherwise.".into(),
        fix: None,
    }])
}

fn policy() -> Policy {
    Policy::parse("version = 1\n[rego]\nfiles = [\"a.rego\"]\n", Timestamp::now()).unwrap()
}

fn denied(policy: &Policy, text: &str, checks: &dyn Checks) -> bool {
    let admitted = admission::admit(policy, text.as_bytes(), Timestamp::now(), checks);
    matches!(admitted.verdict, Verdict::Deny(_))
}

#[test]
fn nobody_is_asked_without_checks_or_for_a_file_that_cannot_be_read() {
    let fake = fake(denying());
    assert!(!denied(&Policy::default(), GOOD, &fake));
    assert!(denied(&policy(), "FROM\nNOTHING\n", &fake));
    assert_eq!(fake.1.load(Ordering::Relaxed), 0);
    assert!(denied(&policy(), GOOD, &fake));
    assert_eq!(fake.1.load(Ordering::Relaxed), 1);
}

#[test]
fn checks_that_fail_or_that_nobody_works_out_deny() {
    assert!(denied(&policy(), GOOD, &fake(Checked::Failed("broken".into()))));
    assert!(denied(&policy(), GOOD, &NoChecks));
    assert!(!denied(&policy(), GOOD, &fake(Checked::Found(Vec::new()))));
    assert!(!denied(&policy(), GOOD, &LeftToTheWorker));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_taken_without_a_process_and_rejected_by_the_worker() {
    let mut house = House::new();
    house.service.settings = Arc::new(Settings {
        policy: policy(),
        ..(*house.service.settings).clone()
    });
    let id = house.submit().await;
    assert!(
        house.record(id).await.outcome().is_none(),
        "the API leaves it to the worker"
    );
    let checks = Arc::new(fake(denying()));
    let (task, _phase) = house.works(
        "w",
        Arc::new(Walker {
            engine: Arc::new(house.fake.clone()),
            scanner: Arc::new(house.fake.clone()),
            settings: house.service.settings.clone(),
            room: Room::default(),
            checks: checks.clone(),
        }),
    );
    let record = house.until(id, |record| record.outcome().is_some()).await;
    task.abort();
    let outcome = record.outcome().unwrap();
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Rejected, Reason::FindingsBlock)
    );
    assert_eq!(checks.1.load(Ordering::Relaxed), 1);
}
