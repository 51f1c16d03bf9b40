//! The way out of builds and guests that their policy allows one: a proxy that knows a list of hosts.
//!
//! It runs in a container of its own, in an image without any other file. Untrusted programs have no network;
//! process 1 beside them takes their connections on its loopback and carries them as frames ([`frame`]) through
//! the engine to our standard input and back. So this process has the network and not the guest, and its other
//! end has the guest and not the network.
//!
//! # What it is told, and what it tells
//! `egress --deadline-s N [--allow HOST[:PORT]]… [--also NETWORK]… [limits]`; [`args`] has them all. Standard
//! error gets one line of JSON for each request that is over ([`journal`]), and before an end with another code
//! than 0 and 124 perhaps one that begins with `egress: `, for people.
//!
//! | exit | means |
//! |---|---|
//! | 0 | standard input ended: the other end is gone, and with it every connection |
//! | 2 | wrong arguments |
//! | 96 | the other end broke the rules of frames |
//! | 97 | no name server is known, or nobody reads standard output |
//! | 124 | the deadline |
//!
//! Of the file system it reads `/etc/resolv.conf`, which the engine writes for each container, and
//! `/dev/urandom`, which each has.
//!
//! # What is trusted
//! The arguments. Frames come from a process that untrusted ones try to take over, requests from those
//! themselves, answers from hosts that they may own: each is bounded in bytes, time and count.
//!
//! # Why HTTP is read by hyper
//! Two readings of one request are how proxies are fooled. Here each message is read once, by the library that
//! also writes it, and goes on as that library understood it, never as the bytes that came. Names are looked up
//! once: [`route`] judges every address of the answer and connects to those, so an answer that changes later
//! changes nothing.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod args;
mod frame;

mod allow;
mod client;
mod forward;
mod journal;
mod link;
mod meter;
mod mux;
mod request;
mod route;
mod tunnel;

use std::{io::Write as _, time::Duration};

use tokio::{
    io::BufReader,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{args::Settings, client::Shared, mux::End, route::Router};

/// Wrong arguments.
const EXIT_USAGE: i32 = 2;
/// The input broke the rules of frames.
const EXIT_PROTOCOL: i32 = 96;
/// The surroundings cannot be used.
const EXIT_SURROUNDINGS: i32 = 97;
/// The deadline ended it.
const EXIT_DEADLINE: i32 = 124;
/// How long the last lines of the journal may take, when nobody may be reading them.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn main() {
    let settings = match Settings::parse(std::env::args_os().skip(1)) {
        Ok(settings) => settings,
        Err(wrong) => end(EXIT_USAGE, Some(&wrong.0)),
    };
    // One thread: what it does is copying, and whoever may be attacked should be small.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => end(EXIT_SURROUNDINGS, Some(&error.to_string())),
    };
    let (code, why) = runtime.block_on(serve(settings));
    end(code, why.as_deref());
}

async fn serve(settings: Settings) -> (i32, Option<String>) {
    let router = match Router::new(settings.resolver, settings.also.clone()) {
        Ok(router) => router,
        Err(why) => return (EXIT_SURROUNDINGS, Some(why)),
    };
    let (journal, writing) = journal::open();
    let deadline = settings.deadline;
    let shared = Shared::new(settings, router, journal);
    let mut connections = JoinSet::new();
    let input = BufReader::with_capacity(2 * frame::LONGEST, tokio::io::stdin());
    let ended = tokio::select! {
        ended = mux::run(input, tokio::io::stdout(), &shared, &mut connections) => Some(ended),
        () = sleep(deadline) => None,
    };
    // Whatever is under way writes its line as it is dropped; then nobody holds the journal any more.
    connections.shutdown().await;
    drop(shared);
    let _ = timeout(LAST_WORDS, writing).await;
    match ended {
        None => (EXIT_DEADLINE, None),
        Some(End::Input) => (0, None),
        Some(End::Output) => (EXIT_SURROUNDINGS, Some("nobody reads standard output".to_owned())),
        Some(End::Broken(broken)) => (EXIT_PROTOCOL, Some(broken.to_string())),
    }
}

/// Ends at once: a thread may still be waiting for standard input.
fn end(code: i32, why: Option<&str>) -> ! {
    if let Some(why) = why {
        // Nobody may be listening, and there is nowhere else to say it.
        let _ = writeln!(std::io::stderr(), "egress: {}", why.escape_default());
    }
    std::process::exit(code)
}
