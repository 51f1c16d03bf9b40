//! `/data` of one attempt: a tmpfs that our holder keeps alive, and through which we read it.
//!
//! The volume is mounted read-only in the holder, which has no network and no capability: whatever
//! a guest puts there, the program that opens it can do nothing with it but send it to us.

use std::{
    collections::{HashMap, VecDeque},
    sync::Weak,
};

use async_trait::async_trait;
use bollard::models::ContainerCreateBody;
use futures_util::StreamExt;
use seatrial_core::{
    engine::{DataListing, DataVolume, EngineError, EngineFacts, ReadEnd},
    id::AttemptId,
    limits::RunLimits,
};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    container::Container,
    engine::Inner,
    frames::{self, Frames},
    lower,
    names::Kind,
    own::{self, Own},
    pool::{self, Member, Shape},
    stdio::{Input, Piece, Stdio},
};

/// Dead-man's limit of a holder, in seconds: longer than any job may take. A policy gives each of three
/// stages a day at most; what is between them takes minutes.
pub(crate) const LIFE_S: u64 = 4 * 86_400;
/// Most bytes that the holder reads at once.
const MAX_READ: u64 = 64 << 20;
/// Longest wait for an answer: the holder reads from memory.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(30);
/// Names that are asked for.
const MAX_NAMES: usize = 1000;
/// A listing of that many names of 255 bytes, each with its length.
const MAX_LISTING: u64 = 1 << 20;

/// The volume, its holder, and what is said to it.
pub(crate) struct Data {
    volume: String,
    talk: Mutex<Talk>,
    _container: Container,
    _end: Option<JobEnd>,
}

/// When a job is over, what it used is made ready for the next one.
struct JobEnd(Weak<Inner>);

impl Drop for JobEnd {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            pool::refill(&inner);
        }
    }
}

/// A volume with its holder: one that stands ready, else a new one.
pub(crate) async fn open(
    inner: &Inner,
    attempt: AttemptId,
    limits: &RunLimits,
) -> Result<Box<dyn DataVolume>, EngineError> {
    let (own, facts) = tokio::try_join!(own::own(inner), inner.facts())?;
    let shape = Shape::data(body(own, &facts, "", HashMap::new(), limits), limits.clone());
    let data = match inner.pool.take(&shape, &facts) {
        Some(Member::Data(data)) => *data,
        _ => make(inner, Some(attempt), limits).await?,
    };
    Ok(Box::new(Data {
        _end: Some(JobEnd(inner.me())),
        ..data
    }))
}

/// Makes the volume and its holder, for an attempt or for whoever is next.
pub(crate) async fn make(inner: &Inner, attempt: Option<AttemptId>, limits: &RunLimits) -> Result<Data, EngineError> {
    let (own, facts) = tokio::try_join!(own::own(inner), inner.facts())?;
    let who = inner.identity();
    let volume = match attempt {
        Some(attempt) => who.name(Kind::Data, attempt),
        None => who.unique_name(Kind::Data),
    };
    let labels = who.labels(Kind::Data, attempt, std::time::Duration::from_secs(LIFE_S));
    let mut container = Container::arm(&inner.client, &inner.janitor, volume.clone());
    let stdio = container.launch(body(own, &facts, &volume, labels, limits)).await?;
    let mut talk = Talk::new(stdio);
    match talk.answer(64).await? {
        (b'H', _) => {}
        (tag, _) => return Err(broken(&format!("it began with {:?}", char::from(tag)))),
    }
    Ok(Data {
        volume,
        talk: Mutex::new(talk),
        _container: container,
        _end: None,
    })
}

fn body(
    own: &Own,
    facts: &EngineFacts,
    volume: &str,
    labels: HashMap<String, String>,
    limits: &RunLimits,
) -> ContainerCreateBody {
    let parts = lower::Parts {
        image: &own.image,
        tools: None,
        labels,
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    lower::data_holder(&parts, volume, limits, LIFE_S)
}

impl Data {
    /// It lives, as far as its streams tell.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.talk.get_mut().stdio.is_silent()
    }
}

#[async_trait]
impl DataVolume for Data {
    fn volume(&self) -> &str {
        &self.volume
    }

    async fn read(&self, name: &str, max: u64) -> Result<ReadEnd, EngineError> {
        let (request, max) = read_request(name, max);
        let (tag, bytes) = self.talk.lock().await.ask(request.as_bytes(), max).await?;
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match tag {
            b'B' => Ok(ReadEnd::Bytes(bytes)),
            b'M' => Ok(ReadEnd::Missing),
            b'N' => Ok(ReadEnd::NotAFile(text())),
            b'T' => Ok(ReadEnd::TooLarge(text().parse().unwrap_or(u64::MAX))),
            b'E' => Err(broken(&text())),
            _ => Err(broken("its answer is of an unknown kind")),
        }
    }

    async fn list(&self) -> Result<DataListing, EngineError> {
        let request = format!("L {MAX_NAMES}\n");
        match self.talk.lock().await.ask(request.as_bytes(), MAX_LISTING).await? {
            (b'L', bytes) => listing(&bytes).ok_or_else(|| broken("its listing cannot be read")),
            (_, bytes) => Err(broken(&String::from_utf8_lossy(&bytes))),
        }
    }
}

/// The request, and the longest answer to it. More than the holder takes would end it.
fn read_request(name: &str, max: u64) -> (String, u64) {
    let max = max.min(MAX_READ);
    (format!("R {max} {name}\n"), max)
}

fn broken(what: &str) -> EngineError {
    EngineError::Broken(format!("the holder of /data did not answer as it should: {what}"))
}

/// `<used> <total> <used_inodes> <truncated>\n`, then `<len>\n` and the name, again and again.
fn listing(bytes: &[u8]) -> Option<DataListing> {
    let (head, mut rest) = line(bytes)?;
    let mut numbers = head.split(' ');
    let used_bytes = numbers.next()?.parse().ok();
    let truncated = numbers.nth(2)? == "1";
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (len, after) = line(rest)?;
        let (name, after) = after.split_at_checked(len.parse().ok()?)?;
        names.push(name.to_vec());
        rest = after;
    }
    Some(DataListing {
        names,
        truncated,
        used_bytes,
    })
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// Question and answer with the holder.
struct Talk {
    stdio: Stdio,
    input: Input,
    frames: Frames,
    answers: Answers,
}

impl Talk {
    fn new(mut stdio: Stdio) -> Self {
        Self {
            input: stdio.input(),
            stdio,
            frames: Frames::default(),
            answers: Answers::default(),
        }
    }

    async fn ask(&mut self, request: &[u8], max: u64) -> Result<(u8, Vec<u8>), EngineError> {
        self.input.write(request).await;
        self.input.flush().await;
        self.answer(max.max(4096)).await
    }

    async fn answer(&mut self, max: u64) -> Result<(u8, Vec<u8>), EngineError> {
        self.answers.max = max;
        timeout(ANSWER, async {
            loop {
                if let Some(answer) = self.answers.whole.pop_front() {
                    return Ok(answer);
                }
                match self.stdio.output.next().await.transpose()? {
                    Some(Piece::Out(bytes)) => self.frames.take(&bytes, &mut self.answers)?,
                    Some(Piece::Err(bytes)) => return Err(broken(&String::from_utf8_lossy(&bytes))),
                    None => return Err(broken("it has ended")),
                }
            }
        })
        .await
        .map_err(|_| EngineError::Slow {
            action: "let the holder of /data answer",
            after: ANSWER,
        })?
    }
}

#[derive(Default)]
struct Answers {
    max: u64,
    current: Option<(u8, Vec<u8>)>,
    whole: VecDeque<(u8, Vec<u8>)>,
}

impl frames::Take for Answers {
    fn header(&mut self, line: &[u8]) -> Result<u64, EngineError> {
        let text = std::str::from_utf8(line).map_err(|_| broken("a header is not text"))?;
        let parts: Vec<&str> = text.split(' ').collect();
        let ["ST1", tag, len] = parts[..] else {
            return Err(broken("a header is not one of an answer"));
        };
        let len = frames::number(len).ok_or_else(|| broken("a length is not a number"))?;
        if tag.len() != 1 || len > self.max {
            return Err(broken("its answer is larger than it may be"));
        }
        self.current = Some((tag.as_bytes()[0], Vec::new()));
        Ok(len)
    }

    fn body(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        if let Some((_, body)) = &mut self.current {
            body.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn body_ends(&mut self) -> Result<(), EngineError> {
        self.whole.extend(self.current.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_asked_for_than_the_holder_reads() {
        assert_eq!(read_request("perf.json", 10), ("R 10 perf.json\n".to_owned(), 10));
        assert_eq!(read_request("big", 1 << 40), ("R 67108864 big\n".to_owned(), 64 << 20));
    }

    #[test]
    fn a_listing_is_read_whole_or_not_at_all() {
        let read = listing(b"4096 65536 3 1\n4\na\nb\xff1\nc").unwrap();
        assert_eq!(read.names, [b"a\nb\xff".to_vec(), b"c".to_vec()]);
        assert_eq!(read.used_bytes, Some(4096));
        assert!(read.truncated);
        assert_eq!(listing(b"4096 65536 3 1\n9\nabc"), None);
        assert_eq!(listing(b"4096 65536"), None);
        assert_eq!(
            listing(b"0 65536 1 0\n").unwrap(),
            DataListing {
                used_bytes: Some(0),
                ..DataListing::default()
            }
        );
    }
}
