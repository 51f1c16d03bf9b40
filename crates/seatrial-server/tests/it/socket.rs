//! On a real socket: what a router alone cannot show.

use std::{net::SocketAddr, time::Duration};

use seatrial_server::{AppState, ServerConfig, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::support::House;

struct Server {
    house: House,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Short enough for a test and long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

async fn start(change: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig {
        head_time: LONG,
        body_time: LONG,
        write_time: LONG,
        ..ServerConfig::default()
    };
    change(&mut config);
    let house = House::new();
    let state = AppState::new(house.service.clone(), &config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, state, config, async move {
        let _ = stopped.await;
    }));
    Server {
        house,
        address,
        stop: Some(stop),
        task,
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a text and reads until the server closes, or for as long as `patience`.
    async fn talk(&self, text: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(LONG, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_closes_when_idle() {
    let server = start(|config| config.head_time = SHORT).await;
    let begun = Instant::now();
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = server.talk(&one.repeat(3)).await;
    assert_eq!(answer.matches("200 OK").count(), 3, "{answer}");
    assert!(begun.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = start(|config| config.head_time = SHORT).await;
    let answer = server.talk("GET /healthz HTTP/1.1\r\nHost:").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let server = start(|config| config.body_time = SHORT).await;
    for kind in [
        "text/x-dockerfile",
        "application/json",
        "multipart/form-data; boundary=b",
    ] {
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\nFROM"
        );
        let answer = server.talk(&head).await;
        assert!(
            answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"),
            "{answer}"
        );
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_says_that_it_is_too_large_is_refused_unread() {
    let server = start(|_| {}).await;
    let answer = server
        .talk("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/x-dockerfile\r\nContent-Length: 99999999999\r\n\r\nx")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_caller_that_sends_on_still_sees_why_it_was_refused() {
    let server = start(|_| {}).await;
    for _ in 0..5 {
        let mut socket = server.connect().await;
        let head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/x-dockerfile\r\nContent-Length: 8000000\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&vec![b'#'; 8_000_000]).await.unwrap();
        let mut answer = Vec::new();
        timeout(LONG, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 413"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[tokio::test]
async fn further_connections_wait_for_a_place() {
    let server = start(|config| config.max_connections = 1).await;
    let holder = server.connect().await;
    let mut second = server.connect().await;
    second
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    assert!(
        timeout(SHORT, second.read_to_end(&mut answer)).await.is_err(),
        "it waits"
    );
    drop(holder);
    timeout(LONG, second.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_reader_that_takes_nothing_loses_its_connection() {
    let server = start(|config| config.write_time = SHORT).await;
    let mut socket = server.connect().await;
    // More answers than the system's buffers hold, and nobody reads them.
    let one = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    let until = Instant::now() + LONG;
    let mut cut = false;
    while Instant::now() < until && !cut {
        cut = !matches!(
            timeout(SHORT / 4, socket.write_all(one.as_bytes())).await,
            Ok(Ok(())) | Err(_)
        );
    }
    assert!(cut, "the server closes");
}

#[tokio::test]
async fn a_process_that_goes_ends_streams_and_takes_nothing_more() {
    let mut server = start(|_| {}).await;
    let path = server.house.submit().await;
    let mut events = server.connect().await;
    events
        .write_all(format!("GET {path}/events HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut seen = vec![0; 4096];
    let read = timeout(LONG, events.read(&mut seen)).await.unwrap().unwrap();
    assert!(read > 0);
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(timeout(LONG, idle.read(&mut seen)).await.unwrap().unwrap() > 0);
    let begun = Instant::now();
    server.stop.take().unwrap().send(()).unwrap();
    let mut rest = Vec::new();
    timeout(LONG, events.read_to_end(&mut rest)).await.unwrap().unwrap();
    // The last chunk: the stream ended, it was not cut.
    assert!(rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    timeout(LONG, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
    timeout(LONG, server.task).await.unwrap().unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(server.address).await.is_err());
}
