//! What stands ready: containers made and started, and a load begun, before there is a job for them, each used by one
//! job.
//!
//! # What stands ready
//! Builders, scanners and holders of `/data`, each waiting for its first byte of input, and a request to load an
//! image, of which the Engine has what is the same for all ([`crate::load`]). Never guests: a guest's image is known
//! only when it was built.
//!
//! # Which one a job gets
//! One whose whole [`ContainerCreateBody`] is the one that the job asks for: image, mounts, walls, limits, arguments.
//! Only labels, and the name of a holder's volume, are not looked at. So nothing here knows what a wall is, and no
//! new setting can be forgotten: a member with another one is not used, but removed. The same for one that was made
//! when the Engine said something else of itself, that is old, or that said a word or ended: an Engine that is
//! restarted ends the streams of all.
//!
//! # How many, and of what
//! Nobody configures what is needed: the last jobs say it. Of each kind there is what the last N asked for, one for
//! each time that it was asked for. It is made when a job is over, one after the other, so that no job has less of
//! the machine for the sake of the next.
//!
//! # Liveness
//! Each member has its guard ([`Container`]) from before it exists; they go when [`end`] is called, or with the
//! process. A process that is killed takes their standard input with it, and with that they end by themselves; the
//! sweep removes them by their names. A load is nothing but its connection.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bollard::models::ContainerCreateBody;
use seatrial_core::{
    engine::{EngineError, EngineFacts},
    limits::RunLimits,
    walls::Place,
};
use tokio::task::JoinHandle;

use crate::{
    container::Container,
    data::{self, Data},
    engine::Inner,
    load::Load,
    lower,
    names::Kind,
    stdio::Stdio,
    walls,
};

/// The most that may stand ready of a kind.
const MOST: usize = 64;
/// How old a member may be when it is taken: who was idle for longer begins cold.
const FRESH: Duration = Duration::from_secs(3600);
/// How long a member waits for its first byte, in seconds: as long as it is fresh, and as the longest build, for a
/// scanner is taken when the build begins. It ends earlier when its input does; this is for a connection that nobody
/// sees to end.
const IDLE_S: u64 = 3600 + 86_400;

/// What something that stands ready is, but for its name and labels.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Shape {
    /// A container that waits for its first byte.
    Waiting(Kind, Box<ContainerCreateBody>),
    /// A holder of `/data`, without the name of its volume, and the limits of the run whose `/data` it is.
    Data(Box<ContainerCreateBody>, Box<RunLimits>),
    /// The load of an image.
    Load,
}

impl Shape {
    /// Without labels.
    pub(crate) fn waiting(kind: Kind, body: ContainerCreateBody) -> Self {
        Self::Waiting(kind, Box::new(body))
    }

    pub(crate) fn data(body: ContainerCreateBody, limits: RunLimits) -> Self {
        Self::Data(Box::new(body), Box::new(limits))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Waiting(kind, _) => kind.as_str(),
            Self::Data(..) => Kind::Data.as_str(),
            Self::Load => "load",
        }
    }
}

/// One that stands ready.
pub(crate) enum Member {
    /// Started, and told nothing.
    Waiting(Box<Container>, Stdio),
    /// It has said that it is there.
    Data(Box<Data>),
    /// Its beginning is on its way.
    Load(Load),
}

impl Member {
    /// It lives, as far as its streams tell, and has not said anything that nobody asked for.
    fn is_silent(&mut self) -> bool {
        match self {
            Self::Waiting(_, stdio) => stdio.is_silent(),
            Self::Data(data) => data.is_silent(),
            Self::Load(load) => load.is_silent(),
        }
    }
}

/// What is noted of one that stands ready.
struct Made {
    member: Member,
    at: Instant,
    facts: Arc<EngineFacts>,
}

/// What was asked for last, and what stands ready.
struct Shelf<M> {
    /// The newest last.
    wanted: Vec<Shape>,
    ready: Vec<(Shape, M)>,
}

impl<M> Default for Shelf<M> {
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            ready: Vec::new(),
        }
    }
}

impl<M> Shelf<M> {
    /// Notes that one of this shape was asked for; of a kind the last `size` count. What nobody wants any more.
    fn want(&mut self, shape: &Shape, size: usize) -> Vec<M> {
        self.wanted.push(shape.clone());
        let of_kind = self
            .wanted
            .iter()
            .filter(|wanted| wanted.kind() == shape.kind())
            .count();
        if of_kind > size
            && let Some(oldest) = self.wanted.iter().position(|wanted| wanted.kind() == shape.kind())
        {
            self.wanted.remove(oldest);
        }
        let (keep, gone) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|(ready, _)| self.wanted.contains(ready));
        self.ready = keep;
        gone.into_iter().map(|(_, member)| member).collect()
    }

    /// Takes the oldest of exactly this shape.
    fn take(&mut self, shape: &Shape) -> Option<M> {
        let at = self.ready.iter().position(|(ready, _)| ready == shape)?;
        Some(self.ready.remove(at).1)
    }

    /// A shape of which less stand ready than were asked for; builders first, for a job waits for nothing else at its
    /// beginning.
    fn missing(&self) -> Option<Shape> {
        let count = |all: &mut dyn Iterator<Item = &Shape>, shape: &Shape| all.filter(|one| *one == shape).count();
        let is_missing = |shape: &&Shape| {
            count(&mut self.ready.iter().map(|(ready, _)| ready), shape) < count(&mut self.wanted.iter(), shape)
        };
        let (builders, others): (Vec<&Shape>, Vec<&Shape>) =
            (self.wanted.iter()).partition(|shape| matches!(shape, Shape::Waiting(Kind::Build, _)));
        builders.into_iter().chain(others).find(is_missing).cloned()
    }
}

#[derive(Default)]
struct State {
    shelf: Shelf<Made>,
    /// Makes what is missing.
    filling: Option<JoinHandle<()>>,
    ended: bool,
}

/// What stands ready in this process.
pub(crate) struct Pool {
    /// Of each kind, at most; 0 for no pool.
    size: usize,
    state: Mutex<State>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size: size.min(MOST),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that stands ready and is exactly this; and notes that one is wanted after this job.
    pub(crate) fn take(&self, shape: &Shape, facts: &EngineFacts) -> Option<Member> {
        if self.size == 0 {
            return None;
        }
        // Dropped at the end, without the lock.
        let mut useless = self.state().shelf.want(shape, self.size);
        loop {
            let mut made = self.state().shelf.take(shape)?;
            if made.at.elapsed() < FRESH && *made.facts == *facts && made.member.is_silent() {
                tracing::debug!(kind = shape.kind(), "one that stood ready is used");
                return Some(made.member);
            }
            useless.push(made);
        }
    }

    /// Puts one there, unless nobody wants it any more.
    fn put(&self, shape: Shape, made: Made) {
        let mut state = self.state();
        if !state.ended && state.shelf.wanted.contains(&shape) {
            state.shelf.ready.push((shape, made));
        }
    }

    /// What is to be made next; with nothing to make, the filling is over.
    fn next(&self) -> Option<Shape> {
        let mut state = self.state();
        let missing = state.shelf.missing().filter(|_| !state.ended);
        if missing.is_none() {
            state.filling = None;
        }
        missing
    }
}

/// Makes what is missing, in the background.
pub(crate) fn refill(inner: &Arc<Inner>) {
    let mut state = inner.pool.state();
    let fills = state.filling.as_ref().is_some_and(|filling| !filling.is_finished());
    if inner.pool.size == 0 || state.ended || fills {
        return;
    }
    let inner = inner.clone();
    state.filling = Some(tokio::spawn(async move {
        while let Some(shape) = inner.pool.next() {
            match make(&inner, &shape).await {
                Ok(made) => {
                    tracing::debug!(kind = shape.kind(), "one stands ready");
                    inner.pool.put(shape, made);
                }
                Err(error) => {
                    // No job of anybody's: the next one makes what it needs by itself, and asks again.
                    tracing::warn!(
                        kind = shape.kind(),
                        error = &error as &dyn std::error::Error,
                        "nothing can be made ready for the next job"
                    );
                    return;
                }
            }
        }
    }));
}

/// Removes all that stands ready; nothing more is made.
pub(crate) async fn end(inner: &Inner) {
    let (ready, filling) = {
        let mut state = inner.pool.state();
        state.ended = true;
        (std::mem::take(&mut state.shelf.ready), state.filling.take())
    };
    drop(ready);
    if let Some(filling) = filling {
        filling.abort();
        // Over when its guards were dropped: then the janitor knows of all.
        let _ = filling.await;
    }
}

async fn make(inner: &Inner, shape: &Shape) -> Result<Made, EngineError> {
    let facts = inner.facts().await?;
    let member = match shape {
        Shape::Waiting(kind, body) => waiting(inner, *kind, body, &facts).await?,
        Shape::Data(_, limits) => Member::Data(Box::new(data::make(inner, None, limits).await?)),
        Shape::Load => Member::Load(Load::begin(&inner.client)),
    };
    Ok(Made {
        member,
        at: Instant::now(),
        facts,
    })
}

async fn waiting(
    inner: &Inner,
    kind: Kind,
    body: &ContainerCreateBody,
    facts: &EngineFacts,
) -> Result<Member, EngineError> {
    let labels = inner.identity().labels(kind, None, Duration::from_secs(data::LIFE_S));
    let mut body = lower::waiting(body.clone(), labels, IDLE_S);
    let name = inner.identity().unique_name(kind);
    if kind == Kind::Build {
        body = lower::with_terminals(body, &name);
    }
    let mut container = Container::arm(&inner.client, &inner.janitor, name);
    let stdio = container.create(body.clone()).await?;
    if kind == Kind::Build {
        walls::standing(
            &body,
            inner.client.inspect(container.name()).await?,
            facts,
            Place::Build,
        )?;
    }
    container.start().await?;
    Ok(Member::Waiting(Box::new(container), stdio))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: Kind, image: &str) -> Shape {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            ..ContainerCreateBody::default()
        };
        Shape::waiting(kind, body)
    }

    /// Makes all that is missing; how many that were.
    fn fill(shelf: &mut Shelf<u32>) -> u32 {
        let mut made = 0;
        while let Some(shape) = shelf.missing() {
            shelf.ready.push((shape, made));
            made += 1;
        }
        made
    }

    #[test]
    fn what_stood_ready_is_used_once() {
        let mut shelf = Shelf::default();
        let builder = shape(Kind::Build, "a");
        assert!(shelf.want(&builder, 1).is_empty());
        assert_eq!(shelf.take(&builder), None);
        assert_eq!(fill(&mut shelf), 1);
        assert_eq!(shelf.take(&builder), Some(0));
        assert_eq!(shelf.take(&builder), None);
    }

    #[test]
    fn one_with_other_walls_is_not_used_but_removed() {
        let mut shelf = Shelf::default();
        let asked = shape(Kind::Build, "a");
        shelf.want(&asked, 1);
        fill(&mut shelf);
        let stronger = Shape::waiting(
            Kind::Build,
            ContainerCreateBody {
                image: Some("a".to_owned()),
                user: Some("1".to_owned()),
                ..ContainerCreateBody::default()
            },
        );
        assert_eq!(shelf.want(&stronger, 1), [0]);
        assert_eq!(shelf.take(&stronger), None);
        assert_eq!(shelf.missing(), Some(stronger));
    }

    #[test]
    fn of_each_kind_stands_ready_what_the_last_jobs_asked_for() {
        let mut shelf = Shelf::default();
        let (one, other) = (shape(Kind::Build, "a"), shape(Kind::Build, "b"));
        let scanner = shape(Kind::Tool("scan"), "a");
        for shape in [&scanner, &one, &one] {
            shelf.want(shape, 2);
        }
        assert_eq!(shelf.missing().as_ref(), Some(&one), "builders come first");
        assert_eq!(fill(&mut shelf), 3);
        shelf.want(&other, 2);
        assert_eq!(shelf.ready.len(), 3, "one of them may still be used");
        assert_eq!(fill(&mut shelf), 1);
        assert_eq!(
            shelf.want(&other, 2).len(),
            2,
            "both are of a shape that nobody asks for"
        );
        assert_eq!(fill(&mut shelf), 1);
        assert_eq!(shelf.ready.len(), 3);
    }
}
