//! A name server that answers what a test wants, and counts what it was asked.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

pub(crate) struct Dns {
    pub(crate) at: SocketAddr,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// Starts one. Of each name it has the answers of the first question, the second, and so on; the last stays. The
/// two kinds of addresses count as one question. Names that it does not have do not exist.
pub(crate) fn serve(names: &[(&str, &[&[&str]])]) -> Dns {
    let names: HashMap<String, Vec<Vec<IpAddr>>> = names
        .iter()
        .map(|(name, answers)| {
            let parsed = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
            ((*name).to_owned(), answers.iter().map(parsed).collect())
        })
        .collect();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = socket.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(HashMap::new()));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        let mut by_kind: HashMap<(String, u16), usize> = HashMap::new();
        let mut query = [0; 1500];
        while let Ok((size, from)) = socket.recv_from(&mut query) {
            let (name, kind, end) = question(&query[..size]);
            *counted.lock().unwrap().entry(name.clone()).or_default() += 1;
            let nth = by_kind.entry((name.clone(), kind)).or_default();
            let answers = names.get(&name).map(|all| all[(*nth).min(all.len() - 1)].as_slice());
            *nth += 1;
            socket.send_to(&reply(&query[..end], kind, answers), from).unwrap();
        }
    });
    Dns { at, asked }
}

impl Dns {
    /// Questions about a name, of either kind of address.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

fn question(query: &[u8]) -> (String, u16, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (labels.join("."), kind, at + 5)
}

fn reply(question: &[u8], kind: u16, answers: Option<&[IpAddr]>) -> Vec<u8> {
    let data: Vec<Vec<u8>> = answers
        .unwrap_or_default()
        .iter()
        .filter_map(|address| match (kind, address) {
            (A, IpAddr::V4(address)) => Some(address.octets().to_vec()),
            (AAAA, IpAddr::V6(address)) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut out = question.to_vec();
    // An answer, with recursion; or that there is no such name.
    out[2..4].copy_from_slice(&[0x81, if answers.is_some() { 0x80 } else { 0x83 }]);
    out[6..8].copy_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    out[8..12].fill(0);
    for data in data {
        // The name of the question, the kind, the internet, a minute.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}
