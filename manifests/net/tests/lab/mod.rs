//! Logs that sign whatever a test wants, and servers that answer whatever a test wants. Not how a log is kept.

#![allow(dead_code, reason = "each test uses its own part of it")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atlas_manifests::bytes::base64;
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::LogHead;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_manifests::merkle::{Subtrees, consistency, leaf_hash, node_hash, root};
use atlas_manifests::statement::SetHead;
use atlas_net::http::Http;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// The origin of the logs here.
pub(crate) const ORIGIN: &str = "log.example/1";

/// A client that waits two seconds.
pub(crate) fn http() -> Http {
    Http::new(Duration::from_secs(2))
}

/// A key of a log or a witness.
pub(crate) fn key(name: &str, kind: KeyKind, seed: u8) -> (VerifierKey, Ed25519KeyPair) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    (VerifierKey::new(name, kind, public).unwrap(), pair)
}

/// A log with the leaves 0, 1, 2, ..., of which those from `fork` on are others.
pub(crate) struct Log {
    pub(crate) key: VerifierKey,
    pair: Ed25519KeyPair,
    fork: u64,
}

impl Subtrees for Log {
    type Error = String;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, String> {
        if level == 0 {
            let other = u64::from(index >= self.fork);
            let leaf = [index.to_be_bytes(), other.to_be_bytes()];
            return Ok(leaf_hash(&leaf.concat()));
        }
        let left = self.subtree(level - 1, index * 2)?;
        Ok(node_hash(&left, &self.subtree(level - 1, index * 2 + 1)?))
    }
}

impl Log {
    /// The log of a key.
    pub(crate) fn new(origin: &str, seed: u8) -> Self {
        let (key, pair) = key(origin, KeyKind::Ed25519, seed);
        let fork = u64::MAX;
        Self { key, pair, fork }
    }

    /// The same log with another history from a leaf on.
    pub(crate) fn forked(seed: u8, fork: u64) -> Self {
        Self {
            fork,
            ..Self::new(ORIGIN, seed)
        }
    }

    pub(crate) fn head(&self, size: u64) -> SetHead {
        let root = root(self, size).unwrap();
        SetHead { size, root }
    }

    pub(crate) fn proof(&self, old: u64, new: u64) -> Vec<Sha256> {
        consistency(self, old, new).unwrap()
    }

    /// Its signed checkpoint.
    pub(crate) fn checkpoint(&self, size: u64) -> Checkpoint {
        let origin = self.key.name().to_owned();
        let head = self.head(size);
        let mut made = Checkpoint::of(LogHead { origin, head }).unwrap();
        let text = made.note.text.clone();
        made.note.add(self.key.line(self.sign(text.as_bytes())));
        made
    }

    pub(crate) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }

    /// The body of an `add-checkpoint`.
    pub(crate) fn request(&self, old: u64, new: u64) -> String {
        let checkpoint = String::from_utf8(self.checkpoint(new).encode()).unwrap();
        request(old, &self.proof(old.min(new), new), &checkpoint)
    }
}

/// The body of an `add-checkpoint`.
pub(crate) fn request(old: u64, proof: &[Sha256], checkpoint: &str) -> String {
    let lines: String = proof.iter().map(|h| base64(&h.0) + "\n").collect();
    format!("old {old}\n{lines}\n{checkpoint}")
}

/// What a server of `Liar` does with a request: its number from 0, its first line, its body.
pub(crate) type Lie = dyn Fn(usize, &str, &str) -> Vec<u8> + Send + Sync;

/// A server that answers whatever it is told to; an empty answer is none: it keeps the connection and says nothing.
pub(crate) struct Liar {
    pub(crate) url: String,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    pub(crate) fn new(lie: impl Fn(usize, &str, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let (told, count) = (Arc::clone(&end), Arc::new(AtomicUsize::new(0)));
        let lie: Arc<Lie> = Arc::new(lie);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let (lie, count, told) = (Arc::clone(&lie), Arc::clone(&count), Arc::clone(&told));
                thread::spawn(move || talk(stream, &*lie, &count, &told));
            }
        });
        Self {
            url,
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn talk(mut stream: TcpStream, lie: &Lie, count: &AtomicUsize, end: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| {
                    l.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return,
            Ok(n) => all.extend(&part[..n]),
        }
    };
    let first = head.lines().next().unwrap_or_default();
    let answer = lie(count.fetch_add(1, Ordering::Relaxed), first, &body);
    if answer.is_empty() {
        while !end.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = stream.write_all(&answer);
}

/// An HTTP answer.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let n = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {n}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}
