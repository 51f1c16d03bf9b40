//! Hosts that say what a test wants, and keep what was said to them.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

pub(crate) struct Host {
    pub(crate) at: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }

    /// The heads of the requests that came, one for each connection.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// A host that reads the head of a request, answers, and closes.
pub(crate) fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Host {
    answering_at("127.0.0.1:0", answer)
}

pub(crate) fn answering_at(at: &str, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Host {
    serve(at, move |mut stream, heads| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        heads.lock().unwrap().push(head.clone());
        // Whoever asked may be gone.
        let _ = stream.write_all(&answer(&head));
    })
}

/// A host that answers with this body.
pub(crate) fn of(body: &'static str) -> Host {
    answering(move |_| ok(body))
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A host that says what it hears, until it hears no more.
pub(crate) fn echo() -> Host {
    serve("127.0.0.1:0", |mut stream, _| {
        let mut back = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut stream, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    })
}

/// A host that takes connections and says nothing, until whoever came is gone.
pub(crate) fn silent() -> Host {
    serve("127.0.0.1:0", |mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

fn serve(at: &str, talk: impl Fn(TcpStream, &Mutex<Vec<String>>) + Send + Sync + 'static) -> Host {
    let listener = TcpListener::bind(at).unwrap();
    let at = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (kept, talk) = (Arc::clone(&heads), Arc::new(talk));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (kept, talk) = (Arc::clone(&kept), Arc::clone(&talk));
            thread::spawn(move || talk(stream.unwrap(), &kept));
        }
    });
    Host { at, heads }
}

/// A port on which nobody listens.
pub(crate) fn nobody() -> u16 {
    let listener = TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).unwrap();
    listener.local_addr().unwrap().port()
}
