//! The other end of the frames, as the engine would be one.

pub(crate) mod dns;
pub(crate) mod host;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

/// Nothing in a test takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Proxy {
    child: Child,
    stdin: Option<ChildStdin>,
    frames: Receiver<(u8, u32, Vec<u8>)>,
    lines: JoinHandle<Vec<String>>,
    newest: u32,
    pub(crate) seen: HashMap<u32, Seen>,
    /// Whether data that came is given back as credit.
    pub(crate) generous: bool,
}

/// What came of a connection.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) data: Vec<u8>,
    pub(crate) credit: u64,
    pub(crate) finished: bool,
    pub(crate) over: bool,
}

impl Proxy {
    /// Starts it; arguments are split at spaces.
    pub(crate) fn start(arguments: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seatrial-egress"))
            .args(arguments.split_whitespace())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (to, frames) = channel();
        thread::spawn(move || {
            let mut head = [0; 9];
            while stdout.read_exact(&mut head).is_ok() {
                let id = u32::from_be_bytes(head[1..5].try_into().unwrap());
                let length = u32::from_be_bytes(head[5..].try_into().unwrap());
                assert!(length <= 32_768, "a frame with {length} bytes");
                let mut data = vec![0; length as usize];
                stdout.read_exact(&mut data).unwrap();
                if to.send((head[0], id, data)).is_err() {
                    return;
                }
            }
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = thread::spawn(move || stderr.lines().map(Result::unwrap).collect());
        Self {
            stdin: child.stdin.take(),
            child,
            frames,
            lines,
            newest: 0,
            seen: HashMap::new(),
            generous: true,
        }
    }

    /// Writes bytes as they are. One that has ended reads nothing: that is seen in how it ended.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub(crate) fn frame(&mut self, kind: u8, id: u32, data: &[u8]) {
        let mut bytes = vec![kind];
        bytes.extend(id.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        self.raw(&bytes);
    }

    pub(crate) fn open(&mut self) -> u32 {
        self.newest += 1;
        self.frame(b'O', self.newest, b"");
        self.newest
    }

    pub(crate) fn send(&mut self, id: u32, data: &[u8]) {
        for piece in data.chunks(32_768) {
            self.frame(b'D', id, piece);
        }
    }

    pub(crate) fn finish(&mut self, id: u32) {
        self.frame(b'F', id, b"");
    }

    pub(crate) fn abort(&mut self, id: u32) {
        self.frame(b'X', id, b"");
    }

    pub(crate) fn of(&mut self, id: u32) -> &mut Seen {
        self.seen.entry(id).or_default()
    }

    /// Takes frames until something is so.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&HashMap<u32, Seen>) -> bool) {
        while !so(&self.seen) {
            let (kind, id, data) = match self.frames.recv_timeout(PATIENCE) {
                Ok(frame) => frame,
                Err(error) => panic!("no {what}: {error}"),
            };
            let seen = self.seen.entry(id).or_default();
            assert!(!seen.over, "a frame {kind} of {id} after its end");
            match kind {
                b'D' => {
                    assert!(!seen.finished, "data of {id} after its end");
                    seen.data.extend(&data);
                    if self.generous {
                        let size = u32::try_from(data.len()).unwrap();
                        self.frame(b'W', id, &size.to_be_bytes());
                    }
                }
                b'W' => seen.credit += u64::from(u32::from_be_bytes(data.try_into().unwrap())),
                b'F' => seen.finished = true,
                b'X' => seen.over = true,
                other => panic!("a frame of kind {other}"),
            }
        }
    }

    /// Everything of a connection, to its end.
    pub(crate) fn all(&mut self, id: u32) -> String {
        self.until("end of the connection", |seen| {
            seen.get(&id).is_some_and(|seen| seen.over)
        });
        String::from_utf8_lossy(&self.of(id).data).into_owned()
    }

    /// Waits for a text.
    pub(crate) fn hear(&mut self, id: u32, text: &str) {
        self.until(text, |seen| {
            let data = seen.get(&id).map(|seen| seen.data.as_slice()).unwrap_or_default();
            data.windows(text.len()).any(|window| window == text.as_bytes())
        });
    }

    /// Sends a request on a connection of its own, says that there is no more, and takes the answer.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        let id = self.open();
        self.send(id, request.as_bytes());
        self.finish(id);
        self.all(id)
    }

    /// A GET through the proxy, as its status and its body.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> (u16, String) {
        parts(&self.ask(&format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")))
    }

    /// A tunnel that is open, or the status of the refusal.
    pub(crate) fn connect(&mut self, host: &str) -> Result<u32, u16> {
        let id = self.open();
        self.send(
            id,
            format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
        self.hear(id, "\r\n\r\n");
        let answer = std::mem::take(&mut self.of(id).data);
        match parts(&String::from_utf8(answer).unwrap()) {
            (200, rest) => {
                assert_eq!(rest, "");
                Ok(id)
            }
            (status, _) => Err(status),
        }
    }

    /// Ends it, and gives its code and its lines.
    pub(crate) fn end(mut self) -> (i32, Vec<Value>) {
        drop(self.stdin.take());
        self.ended()
    }

    /// Waits for its end, and gives its code and its lines.
    pub(crate) fn ended(mut self) -> (i32, Vec<Value>) {
        let stdin = self.stdin.take();
        let code = self.child.wait().unwrap().code().unwrap();
        drop(stdin);
        let lines = self.lines.join().unwrap();
        let json = lines.iter().filter(|line| !line.starts_with("egress: "));
        let mut told: Vec<Value> = Vec::new();
        for line in json.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            // The last word on a request counts.
            told.retain(|before| line["n"] == 0 || before["n"] != line["n"]);
            told.push(line);
        }
        (code, told)
    }

    /// Ends it as everything should, and gives of each line the verdict, the status and the reason.
    pub(crate) fn verdicts(self) -> Vec<String> {
        let (code, lines) = self.end();
        assert_eq!(code, 0);
        let word = |line: &Value, key| match &line[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let text = |line| {
            format!(
                "{} {} {}",
                word(line, "verdict"),
                word(line, "status"),
                word(line, "reason")
            )
        };
        lines.iter().map(|line| text(line).trim_end().to_owned()).collect()
    }
}

/// The status and the body of an answer.
pub(crate) fn parts(answer: &str) -> (u16, String) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.unwrap_or_else(|| panic!("no status in {answer:?}"));
    (status.parse().unwrap(), body.to_owned())
}
