//! Tickets through a real RabbitMQ.

use std::time::Duration;

use seatrial_core::{
    dispatch::{Dispatch, Ticket},
    id::JobId,
    record::Priority,
};
use seatrial_store::{
    dispatch::rabbitmq::{RabbitDispatch, RabbitOptions},
    testing::{Certificates, RabbitServer},
};
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes; what never comes fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Within this, a ticket that is there comes.
const SOON: Duration = Duration::from_secs(30);
/// What is quicker did not wait for the next look; one of many times suffices, for hosts are busy.
const BLINK: Duration = Duration::from_millis(500);

async fn connect(server: &RabbitServer) -> RabbitDispatch {
    RabbitDispatch::connect(&server.url(), RabbitOptions::default())
        .await
        .unwrap()
}

async fn take(dispatch: &RabbitDispatch) -> Box<dyn Ticket> {
    timeout(SOON, dispatch.take()).await.unwrap().unwrap()
}

/// Takes until there is one, through whatever breaks.
async fn take_in_the_end(dispatch: &RabbitDispatch) -> Box<dyn Ticket> {
    let again = async {
        loop {
            if let Ok(ticket) = dispatch.take().await {
                return ticket;
            }
        }
    };
    timeout(PATIENCE, again).await.unwrap()
}

async fn until_good<E: std::error::Error>(call: impl AsyncFn() -> Result<(), E>) {
    let begun = Instant::now();
    while let Err(error) = call().await {
        assert!(begun.elapsed() < PATIENCE, "{error}: {:?}", error.source());
        sleep(Duration::from_millis(20)).await;
    }
}

async fn is_empty(dispatch: &RabbitDispatch) -> bool {
    timeout(Duration::from_millis(500), dispatch.take()).await.is_err()
}

/// One server, one test: starting takes longer than all of this.
#[tokio::test]
async fn tickets_come_by_priority_and_until_they_are_done() {
    let server = RabbitServer::start().await.unwrap();
    let (sender, worker) = (connect(&server).await, connect(&server).await);
    worker.ping().await.unwrap();
    assert!(is_empty(&worker).await);

    let [low, normal, high] =
        [Priority::Low, Priority::Normal, Priority::High].map(|priority| (JobId::fresh(), priority));
    for (id, priority) in [low, normal, high] {
        sender.send(id, priority).await.unwrap();
    }
    for (id, _) in [high, normal, low] {
        let ticket = take(&worker).await;
        assert_eq!(ticket.job(), id);
        ticket.done().await;
    }
    assert!(is_empty(&worker).await);

    // Given back by being dropped, and by whoever stopped waiting for it.
    let id = JobId::fresh();
    sender.send(id, Priority::Normal).await.unwrap();
    drop(take(&worker).await);
    let ticket = take(&worker).await;
    assert_eq!(ticket.job(), id);

    // Taken by a process that dies: another gets it.
    let dying = connect(&server).await;
    let other = JobId::fresh();
    sender.send(other, Priority::Normal).await.unwrap();
    let held = take(&dying).await;
    assert_eq!(held.job(), other);
    ticket.done().await;
    assert!(is_empty(&worker).await);
    drop((held, dying));
    let ticket = take(&worker).await;
    assert_eq!(ticket.job(), other);
    ticket.done().await;

    // A waiting worker gets a ticket within a blink.
    let mut best = PATIENCE;
    for _ in 0..20 {
        let send = async {
            // Until the worker looks as seldom as it ever does.
            sleep(Duration::from_millis(300)).await;
            let sent = Instant::now();
            sender.send(JobId::fresh(), Priority::High).await.unwrap();
            sent
        };
        let came = async {
            take(&worker).await.done().await;
            Instant::now()
        };
        let (sent, came) = tokio::join!(send, came);
        best = best.min(came.duration_since(sent));
        if best < BLINK {
            break;
        }
    }
    assert!(best < BLINK, "{best:?}");
}

#[tokio::test]
async fn tickets_survive_the_broker_and_connections_come_back() {
    let mut server = RabbitServer::start().await.unwrap();
    let (sender, worker) = (connect(&server).await, connect(&server).await);
    let ids: Vec<JobId> = (0..5).map(|_| JobId::fresh()).collect();
    for id in &ids {
        sender.send(*id, Priority::Normal).await.unwrap();
    }
    let taken = take(&worker).await;
    assert_eq!(taken.job(), ids[0]);

    // The broker notes new queues on disk within half a second; one that is killed before that finds them
    // again but, in version 3.10, without a leader.
    sleep(Duration::from_secs(2)).await;
    server.kill();
    assert!(sender.send(JobId::fresh(), Priority::Normal).await.is_err());
    assert!(sender.ping().await.is_err());
    assert!(timeout(SOON, worker.take()).await.unwrap().is_err());
    // Harmless, and in vain.
    timeout(SOON, taken.done()).await.unwrap();

    server.start_again().await.unwrap();
    let mut came = Vec::new();
    for _ in &ids {
        let ticket = take_in_the_end(&worker).await;
        came.push(ticket.job());
        ticket.done().await;
    }
    came.sort_unstable();
    let mut sent = ids.clone();
    sent.sort_unstable();
    assert_eq!(came, sent);
    assert!(is_empty(&worker).await);

    until_good(async || sender.send(ids[0], Priority::Low).await).await;
    assert_eq!(take(&worker).await.job(), ids[0]);

    // One that hangs is given up in time, and used again when it goes on.
    server.pause().unwrap();
    let asked = Instant::now();
    assert!(sender.send(ids[1], Priority::Low).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(15));
    server.resume().unwrap();
    until_good(async || sender.ping().await).await;
}

#[tokio::test]
async fn only_a_trusted_certificate_is_spoken_to() {
    let server = RabbitServer::start().await.unwrap();
    let others = tempfile::tempdir().unwrap();
    let others = Certificates::make(others.path()).unwrap();
    let with = |tls_ca| RabbitOptions {
        tls_ca,
        ..RabbitOptions::default()
    };
    let url = server.tls_url();
    let trusted = with(Some(server.certificates().ca.clone()));
    let dispatch = RabbitDispatch::connect(&url, trusted).await.unwrap();
    dispatch.send(JobId::fresh(), Priority::Normal).await.unwrap();
    take(&dispatch).await.done().await;
    for other in [Some(others.ca.clone()), None] {
        let refusal = RabbitDispatch::connect(&url, with(other)).await;
        let error = refusal.err().unwrap();
        let chain = format!("{error}: {}", error.source);
        assert!(chain.contains("certificate") || chain.contains("Issuer"), "{chain}");
        assert!(!chain.contains("guest"), "{chain}");
    }
}
