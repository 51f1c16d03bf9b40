//! Takes frames to their connections, and the connections' frames away.
//!
//! # Liveness
//! The reader waits for frames and for nothing else: what a connection was sent waits in its [`Link`]. So a
//! connection that takes nothing holds up nobody. The writer waits for the other end; connections wait for it.

use std::{collections::HashMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, duplex, split},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use crate::{
    client::{self, Shared},
    frame::{self, Broken, Frame, Id},
    link::{self, Link},
};

/// Frames that wait for the writer.
const QUEUE: usize = 32;
/// Bytes between frames and HTTP, each way and connection.
const PIPE: usize = 65_536;
/// Connections beyond the limit that are told so at a time.
const PATIENCE: usize = 32;
/// What they are told.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain\r\ncontent-length: 44\r\n\
    connection: close\r\n\r\nrefused by the proxy: too many connections.\n";

/// Why no frames are read any more.
#[derive(Debug)]
pub(crate) enum End {
    /// Nobody writes any.
    Input,
    /// Nobody reads ours.
    Output,
    /// They are none.
    Broken(Broken),
}

/// A connection that is not over.
struct Live {
    link: Arc<Link>,
    task: AbortHandle,
    /// Beyond the limit: it is told so and nothing else.
    surplus: bool,
}

/// Serves connections until the stream ends. Those that are under way are in `tasks`, for the caller to end.
pub(crate) async fn run(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<Id>,
) -> End {
    let (out, frames) = mpsc::channel(QUEUE);
    tokio::select! {
        broken = take(input, &out, shared, tasks) => match broken {
            Ok(()) => End::Input,
            Err(broken) => End::Broken(broken),
        },
        () = write(output, frames) => End::Output,
    }
}

async fn take(
    mut input: impl AsyncRead + Unpin,
    out: &mpsc::Sender<Frame>,
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<Id>,
) -> Result<(), Broken> {
    let mut live: HashMap<Id, Live> = HashMap::new();
    let mut newest: Option<Id> = None;
    while let Some(frame) = frame::read(&mut input).await? {
        // The last thing that a task does is to queue its `X`, so none that the other end knows of is missed here.
        while let Some(ended) = tasks.try_join_next() {
            if let Ok(id) = ended {
                live.remove(&id);
            }
        }
        let id = match &frame {
            Frame::Open(id) if newest.is_some_and(|newest| *id <= newest) => return Err(Broken::NotNew(*id)),
            Frame::Open(id) => {
                newest = Some(*id);
                live.insert(*id, open(*id, out, shared, tasks, &live)?);
                continue;
            }
            Frame::Data(id, _) | Frame::Credit(id, _) | Frame::Finish(id) | Frame::Over(id) => *id,
        };
        if newest.is_none_or(|newest| id > newest) {
            return Err(Broken::Unknown(id));
        }
        // Of one that is over: it was under way when our `X` was.
        let Some(known) = live.get(&id) else { continue };
        match frame {
            Frame::Data(_, data) => known.link.data(&data)?,
            Frame::Credit(_, bytes) => known.link.allow(bytes)?,
            Frame::Finish(_) => known.link.finish()?,
            Frame::Open(_) | Frame::Over(_) => {
                known.task.abort();
                live.remove(&id);
            }
        }
    }
    Ok(())
}

fn open(
    id: Id,
    out: &mpsc::Sender<Frame>,
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<Id>,
    live: &HashMap<Id, Live>,
) -> Result<Live, Broken> {
    let link = Arc::new(Link::new(id));
    let surplus = live.values().filter(|live| live.surplus).count();
    if live.len() - surplus < shared.settings.max_connections {
        let task = tasks.spawn(connection(id, Arc::clone(&link), out.clone(), Arc::clone(shared)));
        return Ok(Live {
            link,
            task,
            surplus: false,
        });
    }
    if surplus == PATIENCE {
        return Err(Broken::Flood);
    }
    let out = out.clone();
    let task = tasks.spawn(async move {
        let answer = Bytes::from_static(TOO_MANY);
        for frame in [Frame::Data(id, answer), Frame::Finish(id), Frame::Over(id)] {
            let _ = out.send(frame).await;
        }
        id
    });
    Ok(Live {
        link,
        task,
        surplus: true,
    })
}

/// One connection, from its `O` to its `X`.
async fn connection(id: Id, link: Arc<Link>, out: mpsc::Sender<Frame>, shared: Arc<Shared>) -> Id {
    let (near, far) = duplex(PIPE);
    let (from, to) = split(near);
    let served = async {
        tokio::join!(client::serve(far, &shared, &link), link::outward(&link, from, &out));
    };
    let fed = async {
        link::inward(&link, to, &out).await;
        // What came is all there; the answer may not be.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = served => {}
        () = fed => {}
        () = link.idle(shared.settings.idle) => {}
    }
    let _ = out.send(Frame::Over(id)).await;
    id
}

/// Writes frames until nobody reads them.
async fn write(mut output: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) {
    let mut bytes = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        frame.write(&mut bytes);
        while bytes.len() < frame::LONGEST
            && let Ok(frame) = frames.try_recv()
        {
            frame.write(&mut bytes);
        }
        if output.write_all(&bytes).await.is_err() || output.flush().await.is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_too_many_connections_tells_its_own_length() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
