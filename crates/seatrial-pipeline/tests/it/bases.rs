//! Which bases a trial uses.

use std::future::pending;

use jiff::Timestamp;
use seatrial_core::job::{Ending, Reason};
use seatrial_pipeline::worker;
use seatrial_policy::Policy;

use crate::walk::{DOCKERFILE, case_under, fake, ports, trial};

#[tokio::test]
async fn a_base_outside_the_allow_list_is_never_fetched() {
    let fake = fake();
    let (outcome, _) = trial(&fake, "FROM registry.example/evil:1\nCMD [\"true\"]\n").await;
    assert_eq!(outcome.ending, Ending::Rejected);
    assert!(!fake.was_asked("prepare_base"));
}

#[tokio::test]
async fn a_base_is_used_or_not_as_admission_has_said_of_the_text() {
    let text = "FROM registry.example/team/a:1\nCMD [\"true\"]\n";
    let waiver = "[[waivers]]\nrule = \"ST015\"\nmatch = \"registry.example/team/\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-06-01\"\n";
    let pinned = "[bases]\nallow = [\"registry.example/**\"]\nrequire_digest = true\n";
    for (policy, text, is_used) in [
        (waiver, text, true),
        ("[analysis.levels]\nST015 = \"warn\"\n", text, true),
        (
            waiver,
            "FROM evil.example/registry.example/team/a:1\nCMD [\"true\"]\n",
            false,
        ),
        (pinned, text, false),
        ("", text, false),
    ] {
        let policy = Policy::parse(&format!("version = 1\n{policy}"), Timestamp::now()).unwrap();
        let fake = fake();
        let case = case_under(policy, text);
        let outcome = worker::work(&ports(&fake), &case, pending()).await;
        assert_eq!(fake.was_asked("prepare_base"), is_used, "{text}: {outcome:?}");
        assert_eq!(outcome.ending == Ending::Rejected, !is_used, "{text}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_base_with_triggers_is_refused_after_its_config_was_read() {
    let fake = fake();
    fake.script().on_build = vec!["RUN curl evil".into()];
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Rejected, Reason::BaseRefused)
    );
    assert!(!fake.was_asked("build"));
}
