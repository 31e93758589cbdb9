//! Logs that sign whatever a test wants, and servers that answer whatever a test wants. Not how a log is kept.

#![allow(dead_code, reason = "each test uses its own part of it")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atlas_manifests::bytes::base64;
use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::LogHead;
use atlas_manifests::id::InstanceId;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_manifests::log::tile::{Bundle, Resource, encode_hashes};
use atlas_manifests::merkle::{Subtrees, consistency, leaf_hash, node_hash, root};
use atlas_manifests::statement::SetHead;
use atlas_net::http::Http;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// The origin of the logs here.
pub(crate) const ORIGIN: &str = "log.example/1";

/// The one instance in them.
pub(crate) const INSTANCE: InstanceId = InstanceId([1; 16]);

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

/// A log in which an instance begins and then seals manifests, of which those from `fork` on are others.
pub(crate) struct Log {
    pub(crate) key: VerifierKey,
    pair: Ed25519KeyPair,
    fork: u64,
}

impl Subtrees for Log {
    type Error = String;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, String> {
        if level == 0 {
            return Ok(leaf_hash(&self.leaf(index)));
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

    /// The manifest of a leaf.
    pub(crate) fn manifest(&self, index: u64) -> Sha256 {
        let other = u64::from(index >= self.fork);
        Sha256::of(&[index.to_be_bytes(), other.to_be_bytes()].concat())
    }

    pub(crate) fn leaf(&self, index: u64) -> Vec<u8> {
        let leaf = if index == 0 {
            Leaf::Instance {
                instance: INSTANCE,
                evidence: None,
                seal_key: Sha256([1; 32]),
                log_key: None,
            }
        } else {
            Leaf::Manifest {
                manifest: self.manifest(index),
                instance: INSTANCE,
            }
        };
        leaf.encode()
    }

    /// All files of the log at a size, over whatever is there.
    pub(crate) fn write(&self, dir: &Path, size: u64) {
        let put = |name: Resource, bytes: &[u8]| {
            let path = dir.join(name.path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let leaves: Vec<_> = (0..size).map(|n| self.leaf(n)).collect();
        for (index, part) in (0..).zip(leaves.chunks(256)) {
            let mut bundle = Bundle::default();
            part.iter().for_each(|l| bundle.push(l).unwrap());
            let width = part.len() as u16;
            put(Resource::Entries { index, width }, bundle.bytes());
        }
        let mut hashes: Vec<_> = leaves.iter().map(|l| leaf_hash(l)).collect();
        for level in 0.. {
            for (index, part) in (0..).zip(hashes.chunks(256)) {
                let width = part.len() as u16;
                let name = Resource::Tile {
                    level,
                    index,
                    width,
                };
                put(name, &encode_hashes(part));
            }
            hashes = hashes
                .as_chunks::<256>()
                .0
                .iter()
                .map(|h| over(h))
                .collect();
            if hashes.is_empty() {
                break;
            }
        }
        fs::write(dir.join("keys"), format!("{}\n", self.key)).unwrap();
        put(Resource::Checkpoint, &self.checkpoint(size).encode());
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

/// The root over a power of two of hashes.
fn over(hashes: &[Sha256]) -> Sha256 {
    match hashes {
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            node_hash(&over(left), &over(right))
        }
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
