use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use seatrial_core::{
    engine::{BuildFailure, EngineError, ReadEnd, RunExit, Usage},
    finding::Severity,
    id::{CorrelationId, JobId},
    image::ImageConfig,
    job::{Blame, Ending, JobState, Outcome, Reason, Stage},
    progress::{Progress, Watch},
    scanner::{ScanError, Vulnerability},
    testing::Fake,
    view::JobView,
};
use seatrial_pipeline::{
    admission,
    case::{Case, Ports, Settings, Submission},
    query,
    room::Room,
    worker,
};
use seatrial_policy::Policy;

pub(crate) const DOCKERFILE: &str = "FROM debian:bookworm-slim\nRUN true\nCMD [\"true\"]\n";

#[derive(Default)]
struct Heard(Mutex<Vec<Progress>>);

impl Watch for Heard {
    fn tell(&self, news: Progress) {
        self.0.lock().unwrap().push(news);
    }
}

fn case(text: &str) -> Case {
    case_under(Policy::default(), text)
}

pub(crate) fn case_under(policy: Policy, text: &str) -> Case {
    let settings = Settings {
        policy,
        fixture_database: false,
        runtime: None,
        attempts: 2,
        sbom: false,
        config_checks: false,
    };
    let submission = Submission {
        dockerfile: text.as_bytes().to_vec(),
        artifacts: true,
        ..Submission::default()
    };
    let admitted = admission::admit(
        &settings.policy,
        text.as_bytes(),
        Timestamp::now(),
        &admission::NoChecks,
    );
    Case::new(
        JobId::fresh(),
        CorrelationId::accept_or_fresh("test"),
        submission,
        admitted,
        settings,
    )
}

pub(crate) async fn trial(fake: &Fake, text: &str) -> (Outcome, JobView) {
    let case = case(text);
    let outcome = worker::work(&ports(fake), &case, pending()).await;
    let view = query::view(&case, &outcome);
    (outcome, view)
}

pub(crate) fn ports(fake: &Fake) -> Ports {
    Ports {
        engine: Arc::new(fake.clone()),
        scanner: Arc::new(fake.clone()),
        watch: Arc::new(Heard::default()),
        room: Room::default(),
    }
}

/// The config that the built image must have, or the walk stops with a mismatch.
pub(crate) fn fake() -> Fake {
    let fake = Fake::default();
    fake.script().built_config = Some(ImageConfig {
        cmd: vec!["true".into()],
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        ..ImageConfig::default()
    });
    fake
}

#[tokio::test]
async fn a_disk_without_room_for_a_trial_is_our_fault_and_nothing_is_built() {
    let fake = fake();
    fake.script().free_disk = Some(seatrial_pipeline::room::KEPT);
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Errored, Reason::DiskFull),
        "{outcome:?}"
    );
    assert!(outcome.remedy.is_some_and(|remedy| remedy.contains("fewer jobs")));
    assert!(fake.script().asked.iter().all(|asked| !asked.starts_with("build")));
}

#[tokio::test]
async fn a_good_image_runs_and_its_result_is_kept_with_its_digest() {
    let fake = fake();
    let (outcome, view) = trial(&fake, DOCKERFILE).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{outcome:?}");
    let result = view.result.unwrap();
    assert_eq!(result.value["perf"], 0.99);
    assert_eq!(result.sha256, seatrial_core::digest::Digest::of(br#"{"perf": 0.99}"#));
    assert!(fake.was_asked("prepare_base docker.io/library/debian:bookworm-slim"));
}

#[tokio::test]
async fn a_rejected_text_asks_the_engine_for_nothing() {
    let fake = fake();
    let (outcome, view) = trial(&fake, "FROM debian\nRUN --security=insecure true\n").await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Rejected, Reason::FindingsBlock)
    );
    assert!(fake.script().asked.is_empty(), "{:?}", fake.script().asked);
    assert!(view.analysis.blocking.contains(&"ST003".into()));
}

#[tokio::test]
async fn text_that_does_not_parse_is_rejected_as_such() {
    let (outcome, _) = trial(&fake(), "FRMO debian\n").await;
    assert_eq!(
        (outcome.ending, outcome.reason, outcome.blame),
        (Ending::Rejected, Reason::Unparsable, Blame::Guest)
    );
}

#[tokio::test]
async fn the_user_of_base_and_image_is_read_and_told() {
    for (text, of_image) in [(DOCKERFILE.to_owned(), "model"), (format!("{DOCKERFILE}USER 7\n"), "7")] {
        let fake = fake();
        fake.script().base_user = "model".into();
        fake.script().built_config.as_mut().unwrap().user = of_image.into();
        let (outcome, view) = trial(&fake, &text).await;
        assert_eq!(outcome.ending, Ending::Succeeded, "{}", outcome.message);
        let image = view.image.unwrap();
        assert_eq!((&*image.user, &*image.bases[0].user), (of_image, "model"));
    }
}

#[tokio::test]
async fn a_failed_step_names_the_line_of_the_original() {
    let fake = fake();
    fake.script().build_failure = Some(BuildFailure::Step {
        step: Some(2),
        exit_code: Some(7),
    });
    let (outcome, view) = trial(
        &fake,
        "FROM debian:bookworm-slim\n\n# a comment\nRUN exit 7\nCMD [\"true\"]\n",
    )
    .await;
    assert_eq!(
        (outcome.ending, outcome.reason, outcome.blame),
        (Ending::Failed, Reason::BuildFailed, Blame::Guest)
    );
    assert!(
        outcome.message.contains("line 4") && outcome.message.contains("exit code 7"),
        "{}",
        outcome.message
    );
    assert_eq!(view.log_tail, ["STEP 1", "building"]);
    assert!(!fake.was_asked("scan") && !fake.was_asked("start"));
}

#[tokio::test]
async fn what_was_not_scanned_is_never_started() {
    let fake = fake();
    fake.script().scan_failure = Some(|| ScanError::Failed("it fell over".into()));
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Errored, Reason::ScannerFailed)
    );
    assert!(!fake.was_asked("start"));
}

#[tokio::test]
async fn an_image_that_takes_the_scanner_too_long_or_too_much_memory_exceeds_a_limit() {
    let slow: fn() -> ScanError = || ScanError::TimedOut(Duration::from_secs(300));
    let large: fn() -> ScanError = || ScanError::OutOfMemory(bytesize::ByteSize::gib(2));
    for (failure, ending, reason, setting) in [
        (slow, Ending::TimedOut, Reason::ScanTime, "limits.scan.time"),
        (large, Ending::Failed, Reason::OutOfMemory, "limits.scan.memory"),
    ] {
        let fake = fake();
        fake.script().scan_failure = Some(failure);
        let (outcome, _) = trial(&fake, DOCKERFILE).await;
        let told = (outcome.ending, outcome.reason, outcome.blame);
        assert_eq!(told, (ending, reason, Blame::Quota));
        assert!(outcome.remedy.unwrap().contains(setting));
        assert!(!fake.was_asked("start"));
    }
}

#[tokio::test]
async fn an_image_that_hides_its_packages_is_not_clean() {
    let fake = fake();
    fake.script().unscannable = Some("it shows no packages".into());
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason, outcome.blame),
        (Ending::Rejected, Reason::Unscannable, Blame::Guest)
    );
    assert!(!fake.was_asked("start"));
}

fn critical() -> Vulnerability {
    Vulnerability {
        id: "CVE-2024-1".into(),
        package: "py".into(),
        installed: "1".into(),
        fixed: Some("2".into()),
        severity: Severity::Critical,
        title: "bad".into(),
        target: "py".into(),
        kept_from_base: false,
    }
}

#[tokio::test]
async fn a_vulnerability_that_a_waiver_lets_pass_is_told_with_its_words() {
    let fake = fake();
    fake.script().vulnerabilities = vec![critical()];
    let mut case = case(DOCKERFILE);
    let waiver =
        "version = 1\n[[waivers]]\nrule = \"CVE-2024-1\"\nreason = \"not reached\"\nowner = \"ann\"\nexpires = ";
    let now = Timestamp::now();
    let soon = now + jiff::SignedDuration::from_hours(48);
    case.settings.policy = Policy::parse(&format!("{waiver}{}", &soon.to_string()[..10]), now).unwrap();
    let outcome = worker::work(&ports(&fake), &case, pending()).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{}", outcome.message);
    let scan = query::view(&case, &outcome).scan.unwrap();
    let [waived] = &scan.waived[..] else {
        panic!("{:?}", scan.waived)
    };
    assert_eq!(
        (&*waived.rule, waived.at.as_deref(), &*waived.reason, &*waived.owner),
        ("CVE-2024-1", Some("py"), "not reached", "ann")
    );
}

#[tokio::test]
async fn a_blocking_vulnerability_is_named_and_the_image_never_started() {
    let fake = fake();
    fake.script().vulnerabilities = vec![critical()];
    let (outcome, view) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Rejected, Reason::VulnerabilitiesBlock)
    );
    assert!(outcome.message.contains("CVE-2024-1"), "{}", outcome.message);
    assert_eq!(view.scan.unwrap().blocking.len(), 1);
    assert!(fake.was_asked("load") && !fake.was_asked("start"));
}

#[tokio::test]
async fn without_a_database_nothing_is_built() {
    let fake = fake();
    fake.script().no_database = true;
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Errored, Reason::DatabaseMissing)
    );
    assert!(!fake.was_asked("build"));
}

#[tokio::test]
async fn a_stale_database_is_an_error_not_a_pass() {
    let fake = fake();
    fake.script().database_updated_at = Some("2020-01-01T00:00:00Z".parse().unwrap());
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Errored, Reason::DatabaseStale)
    );
    assert!(!fake.was_asked("build"));
}

#[tokio::test]
async fn an_engine_without_process_limits_gets_no_guest() {
    let fake = fake();
    fake.script().no_pids_limit = true;
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Errored, Reason::WallsTooWeak)
    );
    assert!(!fake.was_asked("build"));
}

#[tokio::test]
async fn an_image_that_is_not_what_was_judged_is_never_started() {
    let fake = fake();
    fake.script().built_config = Some(ImageConfig {
        cmd: vec!["something".into(), "else".into()],
        ..ImageConfig::default()
    });
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason),
        (Ending::Errored, Reason::BuildMismatch)
    );
    assert!(!fake.was_asked("start"));
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_of_ours_is_tried_again_and_a_lasting_one_ends_the_job() {
    let fake = fake();
    let gone = || EngineError::Unreachable("connection reset".into());
    fake.script().build_errors = [gone()].into();
    let (outcome, view) = trial(&fake, DOCKERFILE).await;
    assert_eq!((outcome.ending, view.attempt), (Ending::Succeeded, 2));

    fake.script().build_errors = [gone(), gone(), gone()].into();
    let (outcome, view) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason, view.attempt),
        (Ending::Errored, Reason::EngineGone, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_restarts_burns_no_try_and_one_that_stays_away_is_waited_for_a_minute() {
    let gone = || EngineError::Unreachable("connection reset".into());
    for (silent, least, most) in [(0, 1, 2), (4, 12, 20), (usize::MAX, 55, 65)] {
        let fake = fake();
        fake.script().build_errors = [gone()].into();
        fake.script().silent = silent;
        let begun = tokio::time::Instant::now();
        let (outcome, view) = trial(&fake, DOCKERFILE).await;
        assert_eq!((outcome.ending, view.attempt), (Ending::Succeeded, 2));
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_secs(least) && took <= Duration::from_secs(most),
            "{silent}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_heard_while_an_engine_is_waited_for() {
    let fake = fake();
    fake.script().build_errors = [EngineError::Unreachable("connection reset".into())].into();
    fake.script().silent = usize::MAX;
    let case = case(DOCKERFILE);
    let cancel = tokio::time::sleep(Duration::from_secs(5));
    let outcome = worker::work(&ports(&fake), &case, cancel).await;
    assert_eq!(outcome.ending, Ending::Cancelled);
    assert!(matches!(case.state(), JobState::Settled(_)), "{:?}", case.state());
}

#[tokio::test(start_paused = true)]
async fn a_build_that_never_ends_is_ended_at_its_limit() {
    let fake = fake();
    fake.script().build_hangs = true;
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason, outcome.blame),
        (Ending::TimedOut, Reason::BuildTime, Blame::Quota)
    );
    assert!(
        fake.was_asked("tidy"),
        "what was started is removed before the job is settled"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_hangs_outside_of_its_stages_ends_at_its_deadline() {
    let fake = fake();
    fake.script().data_hangs = true;
    let case = case(DOCKERFILE);
    let begun = tokio::time::Instant::now();
    let outcome = worker::work(&ports(&fake), &case, pending()).await;
    assert_eq!(
        (outcome.ending, outcome.reason, outcome.blame),
        (Ending::TimedOut, Reason::JobTime, Blame::Platform)
    );
    let allowed = case.deadline_at.duration_since(case.created_at);
    assert!(begun.elapsed() <= allowed.unsigned_abs() + Duration::from_secs(1));
    assert!(fake.was_asked("tidy"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_never_loaded_is_a_fault_of_the_engine() {
    let fake = fake();
    fake.script().load_hangs = true;
    let (outcome, view) = trial(&fake, DOCKERFILE).await;
    assert_eq!(
        (outcome.ending, outcome.reason, view.attempt),
        (Ending::Errored, Reason::EngineGone, 2)
    );
    assert_eq!(view.stage, Some(Stage::Scan));
}

#[tokio::test]
async fn an_image_that_was_not_the_one_cleared_is_never_started() {
    let fake = fake();
    fake.script().scanned = Some(seatrial_core::digest::Digest::of(b"another image"));
    let (outcome, _) = trial(&fake, DOCKERFILE).await;
    assert_eq!((outcome.ending, outcome.reason), (Ending::Errored, Reason::Internal));
    assert!(fake.was_asked("load") && !fake.was_asked("start"));
}

#[tokio::test(start_paused = true)]
async fn the_state_knows_the_stage_and_the_settled_one_the_end() {
    let fake = fake();
    fake.script().build_hangs = true;
    let case = case(DOCKERFILE);
    let ports = ports(&fake);
    let working = worker::work(&ports, &case, tokio::time::sleep(Duration::from_secs(2)));
    let looking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        case.state()
    };
    let (outcome, state) = tokio::join!(working, looking);
    assert!(
        matches!(
            state,
            JobState::Running {
                stage: Stage::Build,
                attempt: 1,
                ..
            }
        ),
        "{state:?}"
    );
    assert_eq!(case.state(), JobState::Settled(outcome));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_ends_at_once_and_tidies_up() {
    let fake = fake();
    fake.script().build_hangs = true;
    let case = case(DOCKERFILE);
    let outcome = worker::work(&ports(&fake), &case, tokio::time::sleep(Duration::from_secs(1))).await;
    assert_eq!(outcome.ending, Ending::Cancelled);
    assert!(fake.was_asked("tidy"));
    assert_eq!(query::view(&case, &outcome).stage, Some(Stage::Build));
}

#[tokio::test]
async fn ends_of_the_run_say_whose_fault_they_are() {
    for (exit, ending, reason, blame) in [
        (RunExit::Code(3), Ending::Failed, Reason::ExitCode, Blame::Guest),
        (RunExit::OutOfMemory, Ending::Failed, Reason::OutOfMemory, Blame::Quota),
        (RunExit::TimedOut, Ending::TimedOut, Reason::RunTime, Blame::Quota),
        (RunExit::CannotStart, Ending::Failed, Reason::CannotStart, Blame::Guest),
        (
            RunExit::CannotMount("/etc/passwd".to_owned()),
            Ending::Failed,
            Reason::CannotStart,
            Blame::Guest,
        ),
    ] {
        let fake = fake();
        fake.script().exit = Some(exit.clone());
        let (outcome, _) = trial(&fake, DOCKERFILE).await;
        assert_eq!(
            (outcome.ending, outcome.reason, outcome.blame),
            (ending, reason, blame),
            "{exit:?}"
        );
        assert!(!fake.was_asked("read"), "nothing is read after {exit:?}");
    }
}

#[tokio::test]
async fn a_killed_child_alone_is_no_failure() {
    let fake = fake();
    fake.script().usage = Usage {
        oom_events: Some(1),
        ..Usage::default()
    };
    let (outcome, view) = trial(&fake, DOCKERFILE).await;
    assert_eq!(outcome.ending, Ending::Succeeded);
    assert_eq!(view.usage[&Stage::Run].oom_events, Some(1));
}

#[tokio::test]
async fn a_missing_or_hostile_result_is_the_guests_failure() {
    for (left, reason, word) in [
        (ReadEnd::Missing, Reason::NoResult, "left no result"),
        (
            ReadEnd::NotAFile("a symbolic link".into()),
            Reason::InvalidResult,
            "symbolic link",
        ),
        (ReadEnd::TooLarge(1 << 40), Reason::InvalidResult, "1099511627776 bytes"),
        (
            ReadEnd::Bytes(b"{\"perf\": NaN}".to_vec()),
            Reason::InvalidResult,
            "not valid JSON",
        ),
        (ReadEnd::Bytes(Vec::new()), Reason::InvalidResult, "empty"),
    ] {
        let fake = fake();
        fake.script().result = Some(left);
        let (outcome, view) = trial(&fake, DOCKERFILE).await;
        assert_eq!(
            (outcome.ending, outcome.reason, outcome.blame),
            (Ending::Failed, reason, Blame::Guest)
        );
        assert!(outcome.message.contains(word), "{}", outcome.message);
        assert!(view.result.is_none());
    }
}

#[tokio::test]
async fn artifacts_share_the_size_of_the_volume() {
    let fake = fake();
    fake.script().names = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
    let mut case = case(DOCKERFILE);
    case.settings.policy.limits.run.data = bytesize::ByteSize(30); // two of 14 bytes and not three
    let outcome = worker::work(&ports(&fake), &case, pending()).await;
    let view = query::view(&case, &outcome);
    let skipped: Vec<Option<&str>> = view
        .artifacts
        .iter()
        .map(|artifact| artifact.skipped.as_deref())
        .collect();
    assert_eq!(
        skipped,
        [None, None, Some("it claims 14 bytes, more than the 2 that are left")]
    );
}

#[tokio::test]
async fn a_volume_larger_than_what_the_holder_reads_at_once_is_no_error() {
    let fake = fake();
    fake.script().names = vec![b"a".to_vec()];
    let mut case = case(DOCKERFILE);
    case.settings.policy.limits.run.data = bytesize::ByteSize::gib(1);
    let outcome = worker::work(&ports(&fake), &case, pending()).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{outcome:?}");
}

#[tokio::test]
async fn artifacts_with_odd_names_are_listed_and_not_read() {
    let fake = fake();
    fake.script().names = vec![
        b"model.bin".to_vec(),
        b"a\x1b[31m".to_vec(),
        b"..".to_vec(),
        b"perf.json".to_vec(),
    ];
    let (_, view) = trial(&fake, DOCKERFILE).await;
    let kept: Vec<&str> = view
        .artifacts
        .iter()
        .filter(|artifact| artifact.skipped.is_none())
        .map(|artifact| artifact.name.as_str())
        .collect();
    assert_eq!(kept, ["model.bin"]);
    assert!(view.artifacts.iter().any(|artifact| artifact.name == "a\\u{1b}[31m"));
    assert!(!fake.was_asked("read a") && !fake.was_asked("read .."));
}
