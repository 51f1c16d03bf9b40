//! Word of ends leaves through a sender that does what a test says. Time is tokio's and paused.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use seatrial_core::{
    id::JobId,
    ledger::{Delivery, Ledger as _},
    record::Move,
};
use seatrial_pipeline::service::{
    deliver::{self, Answer, DeliverSettings, End, Letter, Sender, Verdict},
    submit::{Request, Submitted},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::service::House;

const S: Duration = Duration::from_secs(1);

/// A letter that waits for what its receiver says; dropped, it is never answered.
struct Arrived {
    job: JobId,
    correlation: String,
    answer: oneshot::Sender<Answer>,
}

struct Post {
    arrivals: mpsc::UnboundedSender<Arrived>,
    ends: Mutex<Vec<End>>,
}

#[async_trait]
impl Sender for Post {
    async fn send(&self, letter: Letter<'_>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let arrived = Arrived {
            job: letter.record.id,
            correlation: letter.record.correlation_id.as_str().to_owned(),
            answer,
        };
        self.arrivals.send(arrived).unwrap();
        match answered.await {
            Ok(answer) => answer,
            Err(_) => pending().await,
        }
    }

    fn place(&self, _: &str) -> String {
        "hooks.example".to_owned()
    }

    fn count(&self, end: End) {
        self.ends.lock().unwrap().push(end);
    }
}

fn post() -> (Arc<Post>, mpsc::UnboundedReceiver<Arrived>) {
    let (arrivals, arrived) = mpsc::unbounded_channel();
    let ends = Mutex::default();
    (Arc::new(Post { arrivals, ends }), arrived)
}

fn settings() -> DeliverSettings {
    DeliverSettings {
        slots: 4,
        try_time: S * 15,
        pauses: vec![S * 5, S * 300],
    }
}

fn taken() -> Answer {
    Answer {
        status: Some(204),
        verdict: Verdict::Taken,
    }
}

fn failed() -> Answer {
    Answer {
        status: Some(500),
        verdict: Verdict::Failed {
            kind: "status",
            error: "the receiver answered 500".to_owned(),
            after: None,
        },
    }
}

impl House {
    /// A job with an address to call back, over already.
    async fn hooked(&self) -> JobId {
        let request = Request {
            webhook: Some("https://hooks.example/x".to_owned()),
            correlation_id: "tie-1".to_owned(),
            ..Request::default()
        };
        let Submitted::New(record) = self.try_submit(request).await else {
            panic!("not new")
        };
        self.ledger.apply(record.id, Move::Cancel).await.unwrap().unwrap();
        record.id
    }

    fn deliver(&self, post: &Arc<Post>) -> JoinHandle<()> {
        let (service, post) = (self.service.clone(), post.clone());
        tokio::spawn(async move { deliver::run(&service, post, &settings(), pending()).await })
    }

    async fn delivery(&self, job: JobId) -> Option<Delivery> {
        self.ledger.delivery(job).await.unwrap()
    }

    async fn until_gone(&self, job: JobId) {
        while self.delivery(job).await.is_some() {
            tokio::time::sleep(S / 10).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_fails_is_tried_again_on_schedule_until_it_is_taken() {
    let house = House::new();
    let (post, mut arrived) = post();
    let _delivering = house.deliver(&post);
    let job = house.hooked().await;
    let begun = Instant::now();
    let mut at = Vec::new();
    for answer in [failed(), failed(), taken()] {
        let letter = arrived.recv().await.unwrap();
        assert_eq!((letter.job, letter.correlation.as_str()), (job, "tie-1"));
        at.push(begun.elapsed());
        letter.answer.send(answer).unwrap();
    }
    assert!(at[0] <= S, "{at:?}");
    assert!((S * 5..S * 8).contains(&(at[1] - at[0])), "{at:?}");
    assert!((S * 300..S * 362).contains(&(at[2] - at[1])), "{at:?}");
    house.until_gone(job).await;
    tokio::time::sleep(S * 100_000).await;
    assert!(arrived.try_recv().is_err(), "it was taken");
    assert_eq!(*post.ends.lock().unwrap(), [End::Again, End::Again, End::Delivered]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_nobody_takes_is_dead_and_stays_visible() {
    let house = House::new();
    let (post, mut arrived) = post();
    let _delivering = house.deliver(&post);
    let job = house.hooked().await;
    for _ in 0..3 {
        arrived.recv().await.unwrap().answer.send(failed()).unwrap();
    }
    tokio::time::sleep(S * 100_000).await;
    assert!(arrived.try_recv().is_err());
    let dead = house.delivery(job).await.unwrap();
    assert!(dead.dead, "{dead:?}");
    assert_eq!(dead.tries, 3);
    assert_eq!(
        dead.last_error.unwrap(),
        "the receiver answered 500; given up after 3 tries"
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_says_nothing_costs_one_bounded_try() {
    let house = House::new();
    let (post, mut arrived) = post();
    let _delivering = house.deliver(&post);
    let job = house.hooked().await;
    drop(arrived.recv().await.unwrap());
    let begun = Instant::now();
    let again = arrived.recv().await.unwrap();
    assert!((S * 20..S * 23).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let delivery = house.delivery(job).await.unwrap();
    assert_eq!(delivery.tries, 1);
    assert_eq!(delivery.last_error.unwrap(), "no answer within 15 s");
    again.answer.send(taken()).unwrap();
    house.until_gone(job).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_sent_and_did_not_note_is_sent_again_by_another() {
    let house = House::new();
    let (ann, mut to_ann) = post();
    let delivering = house.deliver(&ann);
    let job = house.hooked().await;
    let first = to_ann.recv().await.unwrap();
    let begun = Instant::now();
    delivering.abort();
    let (bob, mut to_bob) = post();
    let _delivering = house.deliver(&bob);
    let second = to_bob.recv().await.unwrap();
    assert_eq!((first.job, second.job), (job, job));
    assert!(begun.elapsed() >= S * 15, "held by the dead: {:?}", begun.elapsed());
    second.answer.send(taken()).unwrap();
    house.until_gone(job).await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_noted_is_sent_again() {
    let house = House::new();
    let (post, mut arrived) = post();
    let _delivering = house.deliver(&post);
    let job = house.hooked().await;
    let first = arrived.recv().await.unwrap();
    house.ledger.away(true);
    first.answer.send(taken()).unwrap();
    tokio::time::sleep(S * 10).await;
    house.ledger.away(false);
    let second = arrived.recv().await.unwrap();
    assert_eq!(second.job, job);
    second.answer.send(taken()).unwrap();
    house.until_gone(job).await;
}

#[tokio::test(start_paused = true)]
async fn two_processes_send_each_word_once() {
    let house = House::new();
    let (post, mut arrived) = post();
    let mut jobs = Vec::new();
    for _ in 0..25 {
        jobs.push(house.hooked().await);
    }
    let _delivering = [house.deliver(&post), house.deliver(&post)];
    let mut seen = Vec::new();
    for _ in 0..jobs.len() {
        let letter = arrived.recv().await.unwrap();
        seen.push(letter.job);
        letter.answer.send(taken()).unwrap();
    }
    for job in &jobs {
        house.until_gone(*job).await;
    }
    tokio::time::sleep(S * 100).await;
    assert!(arrived.try_recv().is_err(), "each once");
    seen.sort();
    jobs.sort();
    assert_eq!(seen, jobs);
}

#[tokio::test(start_paused = true)]
async fn no_more_tries_than_slots_are_under_way_and_more_go_as_soon_as_one_ends() {
    let house = House::new();
    let (post, mut arrived) = post();
    for _ in 0..6 {
        house.hooked().await;
    }
    let _delivering = house.deliver(&post);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(arrived.recv().await.unwrap());
    }
    tokio::time::sleep(S * 2).await;
    assert!(arrived.try_recv().is_err(), "four slots");
    let begun = Instant::now();
    open.remove(0).answer.send(taken()).unwrap();
    open.push(arrived.recv().await.unwrap());
    assert!(begun.elapsed() < S / 10, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_goes_sends_what_ended_before_and_takes_no_more() {
    let house = House::new();
    let (post, mut arrived) = post();
    let (go, gone) = oneshot::channel::<()>();
    let delivering = {
        let (service, post) = (house.service.clone(), post.clone());
        let going = async move { drop(gone.await) };
        tokio::spawn(async move { deliver::run(&service, post, &settings(), going).await })
    };
    let early = house.hooked().await;
    let first = arrived.recv().await.unwrap();
    let last = house.hooked().await;
    go.send(()).unwrap();
    let second = arrived.recv().await.unwrap();
    assert_eq!((first.job, second.job), (early, last));
    let late = house.hooked().await;
    tokio::time::sleep(S * 2).await;
    for letter in [first, second] {
        letter.answer.send(taken()).unwrap();
    }
    delivering.await.unwrap();
    assert_eq!((house.delivery(early).await, house.delivery(last).await), (None, None));
    assert_eq!(house.delivery(late).await.unwrap().tries, 0);
}

#[tokio::test(start_paused = true)]
async fn word_of_a_job_that_was_erased_is_not_sent() {
    let house = House::new();
    let (post, mut arrived) = post();
    let job = house.hooked().await;
    assert!(house.ledger.erase(job).await.unwrap());
    let _delivering = house.deliver(&post);
    tokio::time::sleep(S * 100).await;
    assert!(arrived.try_recv().is_err());
}
