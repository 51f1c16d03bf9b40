//! An Engine that lies: a socket in front of the real one. What is asked for by method and path gets the answer
//! of a rule, all else goes through, streams included.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What a rule does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Lie {
    /// Takes it and never answers.
    Hang,
    /// Answers with these bytes, which need not be HTTP, and closes.
    Say(String),
    /// Passes it on, and cuts both ways after so many bytes of the answer.
    Cut(usize),
}

/// An answer as an Engine gives it.
pub(crate) fn answer(status: &str, body: &str) -> Lie {
    Lie::Say(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// What is lied about, and how often; then the truth is told.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) method: &'static str,
    /// Parts that the path with its query has, in this order.
    pub(crate) path: Vec<String>,
    pub(crate) lie: Lie,
    pub(crate) times: usize,
}

impl Rule {
    pub(crate) fn new(method: &'static str, path: &[&str], lie: Lie, times: usize) -> Self {
        Self {
            method,
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            lie,
            times,
        }
    }

    fn is_about(&self, head: &str) -> bool {
        let Some(mut rest) = head
            .strip_prefix(self.method)
            .and_then(|rest| rest.split(" HTTP/1").next())
        else {
            return false;
        };
        self.path.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

/// The socket; it lives as long as the test's process.
pub(crate) struct Liar {
    /// As `docker.host` has it.
    pub(crate) host: String,
    told: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Liar {
    /// Stands in front of the Engine at this socket.
    pub(crate) fn before(engine: PathBuf, rule: Rule) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let (rule, count) = (Arc::new(rule), told.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (engine, rule, count) = (engine.clone(), rule.clone(), count.clone());
                // A peer that goes is no fault of the test.
                thread::spawn(move || drop(serve(client, &engine, &rule, &count)));
            }
        });
        Self {
            host: format!("unix://{}", socket.display()),
            told,
            _folder: folder,
        }
    }

    /// How often it lied.
    pub(crate) fn lies(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }
}

/// One connection, one request: each answer says that the connection closes, so the next one is seen too.
fn serve(mut client: UnixStream, engine: &PathBuf, rule: &Rule, told: &AtomicUsize) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    let end = loop {
        let count = client.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end,
            None if count == 0 || bytes.len() > 64 << 10 => return Ok(()),
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lies = rule.is_about(&head)
        && told
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |so_far| {
                (so_far < rule.times).then_some(so_far + 1)
            })
            .is_ok();
    let mut limit = usize::MAX;
    if lies {
        match &rule.lie {
            Lie::Hang => {
                // Until the other side gives up.
                while client.read(&mut piece)? > 0 {}
                return Ok(());
            }
            Lie::Say(text) => return client.write_all(text.as_bytes()),
            Lie::Cut(after) => limit = *after,
        }
    }
    let mut upstream = UnixStream::connect(engine)?;
    let upgrades = head.to_ascii_lowercase().contains("\r\nupgrade:");
    upstream.write_all(head.as_bytes())?;
    if !upgrades {
        upstream.write_all(b"\r\nConnection: close")?;
    }
    upstream.write_all(&bytes[end..])?;
    let (mut from_client, mut to_engine) = (client.try_clone()?, upstream.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_engine);
        let _ = to_engine.shutdown(std::net::Shutdown::Write);
    });
    let mut passed = 0;
    while passed < limit {
        let count = upstream.read(&mut piece)?.min(limit - passed);
        if count == 0 {
            break;
        }
        client.write_all(&piece[..count])?;
        passed += count;
    }
    let _ = upstream.shutdown(std::net::Shutdown::Both);
    client.shutdown(std::net::Shutdown::Both)
}
