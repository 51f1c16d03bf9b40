//! The tunnel: this test is the proxy at its outer end, and the program inside (the loopback is shared).

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use crate::bench::{NONCE, Ran, holder_as_init};

const CREDIT: usize = 262_144;

/// An init with a tunnel whose guest does `script`.
struct Inside {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    port: u16,
}

impl Inside {
    fn start(script: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut init = holder_as_init();
        init.args(["init", "--deadline-s", "60", "--egress", &port.to_string()]);
        init.args(["--", "sh", "-c", script]);
        let mut child = init
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("{NONCE}\n").as_bytes()).unwrap();
        Self {
            output: child.stdout.take().unwrap(),
            child,
            input,
            port,
        }
    }

    fn connect(&self) -> TcpStream {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    return socket;
                }
                Err(_) if Instant::now() < patience => std::thread::yield_now(), // it may not listen yet
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next frame; `None` at the end of the stream.
    fn frame(&mut self) -> Option<(char, u32, Vec<u8>)> {
        let mut head = [0; 9];
        if self.output.read(&mut head[..1]).unwrap() == 0 {
            return None;
        }
        self.output.read_exact(&mut head[1..]).unwrap();
        let size = u32::from_be_bytes(head[5..].try_into().unwrap());
        let mut payload = vec![0; size as usize];
        self.output.read_exact(&mut payload).unwrap();
        let id = u32::from_be_bytes(head[1..5].try_into().unwrap());
        Some((char::from(head[0]), id, payload))
    }

    fn send(&mut self, kind: char, id: u32, payload: &[u8]) {
        let mut frame = vec![kind as u8];
        frame.extend(id.to_be_bytes());
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        self.input.write_all(&frame).unwrap();
    }

    /// Hangs up, and sees how it ended.
    fn end(self) -> Ran {
        drop(self.input);
        drop(self.output);
        Ran::of(self.child.wait_with_output().unwrap())
    }
}

fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn a_connection_is_carried_both_ways() {
    let mut inside = Inside::start("sleep 1000");
    let mut socket = inside.connect();
    assert_eq!(inside.frame().unwrap(), ('O', 1, vec![]));
    socket.write_all(b"question").unwrap();
    assert_eq!(inside.frame().unwrap(), ('D', 1, b"question".to_vec()));
    inside.send('D', 1, b"ans");
    inside.send('D', 1, b"wer");
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(inside.frame().unwrap(), ('F', 1, vec![]));
    inside.send('D', 1, b" after the end of the question");
    inside.send('F', 1, &[]);
    assert_eq!(read_to_end(&mut socket), b"answer after the end of the question");
    inside.send('X', 1, &[]);
    let ran = inside.end();
    assert_eq!((ran.code, ran.report("orphaned")), (124, "1".into()));
}

#[test]
fn no_more_is_sent_than_was_allowed() {
    let mut inside = Inside::start("sleep 1000");
    let mut socket = inside.connect();
    let writer = std::thread::spawn(move || {
        socket.write_all(&vec![7; 2 * CREDIT]).unwrap();
        socket
    });
    assert_eq!(inside.frame().unwrap().0, 'O');
    let mut come = 0;
    while come < CREDIT {
        let (kind, _, bytes) = inside.frame().unwrap();
        assert_eq!(kind, 'D');
        come += bytes.len();
    }
    assert_eq!(come, CREDIT);
    // Whatever it would send without leave would come before this one's.
    let other = inside.connect();
    assert_eq!(inside.frame().unwrap(), ('O', 2, vec![]));
    inside.send('W', 1, &10_u32.to_be_bytes());
    assert_eq!(inside.frame().unwrap(), ('D', 1, vec![7; 10]));
    drop(other);
    assert_eq!(inside.frame().unwrap(), ('F', 2, vec![]));
    inside.send('X', 1, &[]);
    inside.end();
    drop(writer.join());
}

#[test]
fn what_was_taken_is_allowed_again() {
    let mut inside = Inside::start("sleep 1000");
    let mut socket = inside.connect();
    assert_eq!(inside.frame().unwrap().0, 'O');
    for _ in 0..CREDIT / 32_768 {
        inside.send('D', 1, &[1; 32_768]);
    }
    socket.read_exact(&mut vec![0; CREDIT]).unwrap();
    let mut allowed = 0;
    while allowed + 65_536 <= CREDIT {
        let (kind, id, amount) = inside.frame().unwrap();
        assert_eq!((kind, id), ('W', 1));
        allowed += u32::from_be_bytes(amount.try_into().unwrap()) as usize;
    }
    inside.end();
}

#[test]
fn what_came_before_the_end_is_delivered() {
    let mut inside = Inside::start("sleep 1000");
    let mut socket = inside.connect();
    assert_eq!(inside.frame().unwrap().0, 'O');
    for _ in 0..CREDIT / 32_768 {
        inside.send('D', 1, &[3; 32_768]);
    }
    inside.send('X', 1, &[]);
    assert_eq!(read_to_end(&mut socket).len(), CREDIT);
    inside.end();
}

#[test]
fn what_comes_for_a_connection_that_is_over_is_thrown_away() {
    let mut inside = Inside::start("sleep 1000");
    let first = inside.connect();
    assert_eq!(inside.frame().unwrap().0, 'O');
    inside.send('X', 1, &[]);
    for (kind, payload) in [('D', &b"late"[..]), ('W', &[0, 0, 0, 9]), ('F', b""), ('X', b"")] {
        inside.send(kind, 1, payload);
    }
    let mut second = inside.connect();
    assert_eq!(inside.frame().unwrap(), ('O', 2, vec![]));
    drop(first); // not before: its end could cross the one that came
    inside.send('D', 2, b"still here");
    inside.send('F', 2, &[]);
    assert_eq!(read_to_end(&mut second), b"still here");
    inside.end();
}

#[test]
fn one_connection_too_many_waits_until_one_is_over() {
    let mut inside = Inside::start("sleep 1000");
    let mut sockets: Vec<TcpStream> = (0..33).map(|_| inside.connect()).collect();
    for id in 1..=32 {
        assert_eq!(inside.frame().unwrap(), ('O', id, vec![]));
    }
    sockets[5].write_all(b"x").unwrap();
    assert_eq!(inside.frame().unwrap(), ('D', 6, b"x".to_vec()));
    // It counts until the proxy says so too.
    sockets[5].shutdown(Shutdown::Write).unwrap();
    assert_eq!(inside.frame().unwrap(), ('F', 6, vec![]));
    inside.send('F', 6, &[]);
    assert_eq!(read_to_end(&mut sockets[5]), b"");
    sockets[4].write_all(b"y").unwrap();
    assert_eq!(inside.frame().unwrap(), ('D', 5, b"y".to_vec()));
    inside.send('X', 6, &[]);
    assert_eq!(inside.frame().unwrap(), ('O', 33, vec![]));
    inside.end();
}

#[test]
fn a_frame_against_the_rules_ends_all_connections() {
    for bad in [
        &b"O\0\0\0\x01\0\0\0\0"[..],                  // it opens nothing
        b"D\0\0\0\0\0\0\0\x01x",                      // no such connection
        b"D\0\0\0\x09\0\0\0\x01x",                    // not yet
        b"D\0\0\0\x01\0\0\0\0",                       // no data
        b"D\0\0\0\x01\0\0\x80\x01",                   // too long
        b"W\0\0\0\x01\0\0\0\x04\0\0\0\x01",           // more than ever is allowed
        b"W\0\0\0\x01\0\0\0\x01\x01",                 // no number
        b"F\0\0\0\x01\0\0\0\x01x",                    // a payload
        b"F\0\0\0\x01\0\0\0\0D\0\0\0\x01\0\0\0\x01x", // after the last
        b"Z\0\0\0\x01\0\0\0\0",
    ] {
        let mut inside = Inside::start("sleep 1000");
        let mut socket = inside.connect();
        assert_eq!(inside.frame().unwrap().0, 'O', "{}", bad.escape_ascii());
        inside.input.write_all(bad).unwrap();
        assert_eq!(socket.read(&mut [0; 10]).unwrap_or(0), 0, "{}", bad.escape_ascii());
        // The life line stands, and what comes on it harms nobody.
        inside.send('D', 1, b"more");
        assert!(inside.child.try_wait().unwrap().is_none());
        let ran = inside.end();
        assert_eq!((ran.code, ran.report("orphaned")), (124, "1".into()));
        assert!(ran.stderr.contains("breaks its rules"), "{}", bad.escape_ascii());
    }
}

#[test]
fn a_guest_with_a_tunnel_cannot_write_where_its_frames_go() {
    let script = "echo out; echo err >&2; echo more >/dev/stdout; exit 4";
    let mut inside = Inside::start(script);
    assert_eq!(inside.frame(), None);
    let ran = inside.end();
    assert_eq!(
        (ran.code, ran.report("code"), ran.report("orphaned")),
        (4, "4".into(), "0".into())
    );
    assert!(ran.stderr.starts_with("out\nerr\n"), "{}", ran.stderr);
}

#[test]
fn a_port_that_is_taken_is_an_error_of_ours() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut init = holder_as_init();
    init.args(["init", "--deadline-s", "60", "--egress", &port, "--", "true"]);
    let ran = crate::bench::feed_and_stay(&mut init, format!("{NONCE}\n").as_bytes());
    assert_eq!((ran.code, ran.has_report()), (97, false));
}
