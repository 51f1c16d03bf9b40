//! The way out: connections of those inside, carried as frames on the two streams of the container that
//! none of them holds. `PROTOCOL.md`, section "The tunnel".
//!
//! # Liveness
//! Whoever reads standard input here ([`Tunnel::read`]) waits for nothing else: not for a socket, not for
//! standard output. What comes for a connection goes into a queue that is as large as what may come. So
//! the other side can always write, and everything that waits for it goes on; `PROTOCOL.md` has the whole
//! argument.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    args::Args,
    wire::{Broken, surroundings},
};

/// Connections at once; one more waits until it is taken.
const MAX_CONNECTIONS: usize = 32;
/// Kind, connection, length.
const HEAD: usize = 9;
/// Longest payload.
const MAX_PAYLOAD: usize = 32_768;
/// Bytes that each side may send on a connection before it is allowed more.
const CREDIT: u32 = 262_144;
/// From so many bytes on they are allowed again.
const GRANT: u32 = 65_536;
/// Threads with one buffer each, on the heap.
const STACK: usize = 64 << 10;
/// After a connection could not be taken: for want of a file, say.
const PAUSE: Duration = Duration::from_millis(50);

const OPEN: u8 = b'O';
const DATA: u8 = b'D';
const ALLOW: u8 = b'W';
const FINISH: u8 = b'F';
const OVER: u8 = b'X';
/// Only from us, once: no frame comes after it on this stream.
const END: u8 = b'E';

/// Listens inside, speaks frames outside.
#[derive(Clone)]
pub(crate) struct Tunnel(Arc<Shared>);

struct Shared {
    /// Standard output; `None` when nobody reads it, or it is somebody else's now.
    out: Mutex<Option<File>>,
    table: Mutex<Table>,
    /// A connection is gone, or all are.
    room: Condvar,
}

#[derive(Default)]
struct Table {
    live: BTreeMap<u32, Arc<Connection>>,
    last: u32,
    closed: bool,
}

struct Connection {
    id: u32,
    socket: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What came and was not yet written to the socket: bytes, for many small frames must not cost more.
    inbox: VecDeque<u8>,
    /// What the other side may still send.
    may_come: u32,
    /// What we may still send.
    may_go: u32,
    /// Nothing more comes.
    finished: bool,
    /// Nothing more goes.
    over: bool,
    /// Threads that are done with it.
    done: u8,
}

/// What the thread that writes to a socket does next.
enum Next {
    Write,
    Finish,
    Stop,
}

/// What programs read to find the way out, in both spellings that are about.
pub(crate) fn variables(port: u16) -> impl Iterator<Item = (OsString, OsString)> {
    let proxy = OsString::from(format!("http://127.0.0.1:{port}"));
    let none = OsString::from("localhost,127.0.0.1,::1");
    ["http_proxy", "https_proxy", "no_proxy"]
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_ascii_uppercase()])
        .map(move |name| {
            let value = if name.eq_ignore_ascii_case("no_proxy") {
                &none
            } else {
                &proxy
            };
            (name.into(), value.clone())
        })
}

impl Tunnel {
    /// As `--egress` says, if it is given.
    pub(crate) fn asked(args: &Args) -> Result<Option<(Self, u16)>, Broken> {
        let Some(port) = args.number("--egress", u16::MAX.into())? else {
            return Ok(None);
        };
        let port = u16::try_from(port).unwrap_or_default();
        Ok(Some((Self::open(port)?, port)))
    }

    /// Listens at this port of the loopback.
    fn open(port: u16) -> Result<Self, Broken> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(surroundings("listen"))?;
        let out = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(surroundings("keep standard output"))?;
        let tunnel = Self(Arc::new(Shared {
            out: Mutex::new(Some(out.into())),
            table: Mutex::default(),
            room: Condvar::new(),
        }));
        let twin = tunnel.0.clone();
        spawn(move || accept(&twin, &listener)).map_err(surroundings("start a thread"))?;
        Ok(tunnel)
    }

    /// Reads frames up to the end of the input. After one that breaks the rules there are no connections
    /// any more, and the rest is left to the caller.
    pub(crate) fn read(&self, input: &mut impl Read) {
        let mut payload = vec![0; MAX_PAYLOAD];
        loop {
            match frame(input, &mut payload) {
                Ok(Some((kind, id, size))) if self.0.take(kind, id, &payload[..size]) => {}
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => {
                    crate::complain("what came through the tunnel breaks its rules");
                    break;
                }
            }
        }
        self.0.shut();
    }

    /// No frame comes after this one: the stream is free for something else.
    pub(crate) fn close(&self) {
        self.0.shut();
        let mut out = locked(&self.0.out);
        if let Some(file) = out.as_mut() {
            // Nobody may be listening. No other thread gets in between: what it still wanted to say is not said.
            let _ = file.write_all(&head(END, 0, 0));
        }
        *out = None;
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).map(drop)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn waited<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// The next frame's kind, connection and size; its payload is in `payload`. `None` at the end.
fn frame(input: &mut impl Read, payload: &mut [u8]) -> io::Result<Option<(u8, u32, usize)>> {
    let mut head = [0; HEAD];
    loop {
        match input.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    input.read_exact(&mut head[1..])?;
    let [kind, a, b, c, d, sizes @ ..] = head;
    let size = u32::from_be_bytes(sizes) as usize;
    let body = payload.get_mut(..size).ok_or(ErrorKind::InvalidData)?;
    input.read_exact(body)?;
    Ok(Some((kind, u32::from_be_bytes([a, b, c, d]), size)))
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while shared.wait_for_room() {
        match listener.accept() {
            Ok((socket, _)) => {
                if !shared.admit(socket) {
                    return;
                }
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

impl Shared {
    /// Waits until one more connection may be taken; `false` when there will be none.
    fn wait_for_room(&self) -> bool {
        let mut table = locked(&self.table);
        while !table.closed && table.live.len() >= MAX_CONNECTIONS {
            table = waited(&self.room, table);
        }
        !table.closed
    }

    /// Takes a connection. `false` when there will be no other.
    fn admit(self: &Arc<Self>, socket: TcpStream) -> bool {
        let mut table = locked(&self.table);
        let Some(id) = table.last.checked_add(1).filter(|_| !table.closed) else {
            return false;
        };
        let connection = Arc::new(Connection {
            id,
            socket,
            state: Mutex::new(State {
                inbox: VecDeque::new(),
                may_come: CREDIT,
                may_go: CREDIT,
                finished: false,
                over: false,
                done: 0,
            }),
            changed: Condvar::new(),
        });
        table.last = id;
        // Known before anybody hears of it: the answer may be quick.
        table.live.insert(id, connection.clone());
        drop(table);
        self.send(OPEN, id, &[]);
        for half in [Self::up, Self::down] {
            let (shared, twin) = (self.clone(), connection.clone());
            if spawn(move || half(&shared, &twin)).is_err() {
                // The guest may have taken all threads that it may have.
                self.abort(&connection);
                self.half_done(&connection);
            }
        }
        true
    }

    /// From the socket to the other side.
    fn up(&self, connection: &Connection) {
        let mut buffer = vec![0; HEAD + MAX_PAYLOAD];
        while let Some(most) = connection.wait_to_send() {
            let most = MAX_PAYLOAD.min(most as usize);
            match (&connection.socket).read(&mut buffer[HEAD..HEAD + most]) {
                Ok(0) => {
                    // Also when the other side has ended it: then nobody asks for this any more.
                    if !locked(&connection.state).over {
                        self.send(FINISH, connection.id, &[]);
                    }
                    break;
                }
                Ok(size) => {
                    locked(&connection.state).may_go -= size as u32;
                    self.send_in_place(DATA, connection.id, &mut buffer[..HEAD + size]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.abort(connection);
                    break;
                }
            }
        }
        self.half_done(connection);
    }

    /// From the other side to the socket.
    fn down(&self, connection: &Connection) {
        let mut buffer = Vec::with_capacity(MAX_PAYLOAD);
        let mut written: u32 = 0;
        loop {
            match connection.next(&mut buffer) {
                Next::Write => {}
                Next::Finish => {
                    let _ = connection.socket.shutdown(Shutdown::Write); // it may be gone
                    break;
                }
                Next::Stop => break,
            }
            if (&connection.socket).write_all(&buffer).is_err() {
                self.abort(connection);
                break;
            }
            written += buffer.len() as u32;
            if written >= GRANT {
                // Before it is told: more may come at once.
                locked(&connection.state).may_come += written;
                self.send(ALLOW, connection.id, &written.to_be_bytes());
                written = 0;
            }
        }
        self.half_done(connection);
    }

    /// The connection broke on our side.
    fn abort(&self, connection: &Connection) {
        if connection.end() {
            self.send(OVER, connection.id, &[]);
        }
    }

    /// One of two threads is done. The place is free when both are, and when the connection is over on the
    /// other side too: it counts connections as we do.
    fn half_done(&self, connection: &Connection) {
        let mut state = locked(&connection.state);
        state.done += 1;
        let free = state.done == 2 && state.over;
        drop(state);
        if free {
            self.forget(connection.id);
        }
    }

    fn forget(&self, id: u32) {
        locked(&self.table).live.remove(&id);
        self.room.notify_all();
    }

    /// Takes a frame. `false`: it breaks the rules.
    fn take(&self, kind: u8, id: u32, payload: &[u8]) -> bool {
        let table = locked(&self.table);
        if id == 0 || id > table.last {
            return false;
        }
        let connection = table.live.get(&id).cloned();
        drop(table);
        let amount = <[u8; 4]>::try_from(payload).map(u32::from_be_bytes);
        match (kind, amount) {
            (DATA, _) if !payload.is_empty() => connection.is_none_or(|it| it.receive(payload)),
            (ALLOW, Ok(amount)) => connection.is_none_or(|it| it.allow(amount)),
            (FINISH, _) if payload.is_empty() => {
                connection.inspect(|it| {
                    it.finish(false);
                });
                true
            }
            (OVER, _) if payload.is_empty() => {
                if connection.is_some_and(|it| it.finish(true)) {
                    self.forget(id);
                }
                true
            }
            _ => false,
        }
    }

    /// No connections any more.
    fn shut(&self) {
        let mut table = locked(&self.table);
        table.closed = true;
        let all: Vec<Arc<Connection>> = table.live.values().cloned().collect();
        drop(table);
        self.room.notify_all();
        for connection in all {
            connection.end();
        }
    }

    fn send(&self, kind: u8, id: u32, payload: &[u8]) {
        let mut frame = vec![0; HEAD];
        frame.extend_from_slice(payload);
        self.send_in_place(kind, id, &mut frame);
    }

    /// The first bytes of `frame` are room for its head. All of a frame or nothing of it is sent.
    fn send_in_place(&self, kind: u8, id: u32, frame: &mut [u8]) {
        let size = (frame.len() - HEAD) as u32;
        frame[..HEAD].copy_from_slice(&head(kind, id, size));
        let mut out = locked(&self.out);
        if let Some(file) = out.as_mut()
            && file.write_all(frame).is_err()
        {
            *out = None; // nobody reads any more
        }
    }
}

fn head(kind: u8, id: u32, size: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = kind;
    head[1..5].copy_from_slice(&id.to_be_bytes());
    head[5..].copy_from_slice(&size.to_be_bytes());
    head
}

impl Connection {
    /// How much may be sent, once it is more than nothing; `None` when nothing will be.
    fn wait_to_send(&self) -> Option<u32> {
        let mut state = locked(&self.state);
        while !state.over && state.may_go == 0 {
            state = waited(&self.changed, state);
        }
        (!state.over).then_some(state.may_go)
    }

    /// Waits for something to write to the socket, and puts it into `buffer`.
    fn next(&self, buffer: &mut Vec<u8>) -> Next {
        buffer.clear();
        let mut state = locked(&self.state);
        loop {
            if !state.inbox.is_empty() {
                let size = state.inbox.len().min(MAX_PAYLOAD);
                buffer.extend(state.inbox.drain(..size));
                return Next::Write;
            }
            if state.finished {
                return Next::Finish;
            }
            if state.over {
                return Next::Stop;
            }
            state = waited(&self.changed, state);
        }
    }

    /// `false`: it may not come.
    fn receive(&self, payload: &[u8]) -> bool {
        let mut state = locked(&self.state);
        if state.over {
            return true; // it was on its way
        }
        let size = payload.len() as u32;
        let Some(left) = state.may_come.checked_sub(size).filter(|_| !state.finished) else {
            return false;
        };
        state.may_come = left;
        state.inbox.extend(payload);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// `false`: more than ever may be outstanding.
    fn allow(&self, amount: u32) -> bool {
        let mut state = locked(&self.state);
        if state.over {
            return true; // it was on its way
        }
        let Some(sum) = state.may_go.checked_add(amount).filter(|sum| *sum <= CREDIT) else {
            return false;
        };
        state.may_go = sum;
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Nothing more comes; nothing more is wanted either when it is `over`. What came is still delivered.
    /// Whether nobody here is at work on it any more.
    fn finish(&self, over: bool) -> bool {
        let mut state = locked(&self.state);
        state.finished = true;
        state.over |= over;
        let done = state.done == 2;
        drop(state);
        self.changed.notify_all();
        if over {
            let _ = self.socket.shutdown(Shutdown::Read); // it may be gone
        }
        done
    }

    /// Nothing goes either way any more, and what came is thrown away. `false` when that was so already.
    fn end(&self) -> bool {
        let mut state = locked(&self.state);
        let first = !std::mem::replace(&mut state.over, true);
        state.inbox.clear();
        drop(state);
        self.changed.notify_all();
        let _ = self.socket.shutdown(Shutdown::Both); // it may be gone
        first
    }
}
