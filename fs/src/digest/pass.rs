//! One pass over one file for both digests: each block is read once. Knows nothing of jobs, leases or queues.
//!
//! SHA-256 is a chain and stays with the worker who leads; blocks are read and their BLAKE3 chaining values computed by whoever is free, the lead
//! or an idle worker, at most `WINDOW` blocks ahead. With one helper the pass is as fast as SHA-256 alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use atlas_manifests::digest::{Blake3, Digests, Sha256};
use blake3::hazmat::ChainingValue;
use sha2::Digest as _;

use super::HEAD;
use super::chain::{Chain, GROUP, group_value};

/// Blocks in memory for one file, at most: 4 MiB.
const WINDOW: u64 = 4;

/// What a pass gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Of the bytes that were read.
    pub(super) digests: Digests,
    /// The first of them.
    pub(super) head: Vec<u8>,
}

/// A pass in progress, to be led by one thread and assisted by others.
pub(super) struct Pass {
    size: u64,
    blocks: u64,
    state: Mutex<State>,
    turn: Condvar,
}

struct State {
    /// `None` once the pass is over: helpers take no more blocks.
    file: Option<Arc<File>>,
    /// The next block that nobody has taken.
    next: u64,
    /// The block that SHA-256 wants next.
    wanted: u64,
    ready: BTreeMap<u64, Block>,
    spare: Vec<Vec<u8>>,
    helpers: usize,
    failed: Option<io::Error>,
}

struct Block {
    bytes: Vec<u8>,
    /// Of an only block, the digest itself.
    value: ChainingValue,
}

impl Pass {
    /// Over the first `size` bytes.
    pub(super) fn new(file: Arc<File>, size: u64) -> Self {
        Self {
            size,
            blocks: size.div_ceil(GROUP),
            state: Mutex::new(State {
                file: Some(file),
                next: 0,
                wanted: 0,
                ready: BTreeMap::new(),
                spare: Vec::new(),
                helpers: 0,
                failed: None,
            }),
            turn: Condvar::new(),
        }
    }

    /// True when a helper is worth waking for a file of this size.
    pub(super) fn is_large(size: u64) -> bool {
        size >= 2 * WINDOW * GROUP
    }

    /// Leads the pass to its end. `go_on` is asked before each block, with the bytes digested so far; its error ends the pass. When this returns,
    /// nobody reads the file any more and the pass has let go of it. A file shorter than `size` is `UnexpectedEof`.
    pub(super) fn lead<E: From<io::Error>>(
        &self,
        mut go_on: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Content, E> {
        let result = self.digest(&mut go_on);
        let mut state = self.lock();
        state.file = None;
        self.turn.notify_all();
        while state.helpers > 0 {
            state = self.wait(state);
        }
        state.ready.clear();
        result
    }

    /// True when an idle worker could take a block.
    pub(super) fn wants_help(&self) -> bool {
        let state = self.lock();
        state.file.is_some() && state.helpers == 0 && state.next < self.blocks
    }

    /// Takes blocks until there are none left or `leave` says that there is something better to do.
    pub(super) fn assist(&self, leave: impl Fn() -> bool) {
        let mut state = self.lock();
        state.helpers += 1;
        while state.file.is_some() && state.next < self.blocks && !leave() {
            if state.next >= state.wanted + WINDOW {
                state = self.wait(state);
            } else {
                state = self.take_block(state);
            }
        }
        state.helpers -= 1;
        self.turn.notify_all();
    }

    fn digest<E: From<io::Error>>(
        &self,
        go_on: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Content, E> {
        let mut sha = sha2::Sha256::new();
        let mut chain = Chain::default();
        let mut head = Vec::new();
        let mut alone = None;
        for index in 0..self.blocks {
            go_on(index * GROUP)?;
            let block = self.obtain(index)?;
            sha.update(&block.bytes);
            chain.push(block.value);
            if index == 0 {
                head.extend_from_slice(&block.bytes[..block.bytes.len().min(HEAD)]);
                alone = (self.blocks == 1).then_some(Blake3(block.value));
            }
            let mut state = self.lock();
            state.wanted = index + 1;
            state.spare.push(block.bytes);
            drop(state);
            self.turn.notify_all();
        }
        go_on(self.size)?;
        Ok(Content {
            digests: Digests {
                blake3: chain.root().or(alone).unwrap_or_else(|| Blake3::of(b"")),
                sha256: Sha256(sha.finalize().into()),
                size: self.size,
            },
            head,
        })
    }

    /// The block, read by a helper or, failing that, here.
    fn obtain(&self, index: u64) -> io::Result<Block> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if let Some(block) = state.ready.remove(&index) {
                return Ok(block);
            }
            state = if state.next < self.blocks && state.next < state.wanted + WINDOW {
                self.take_block(state)
            } else {
                self.wait(state)
            };
        }
    }

    /// Reads and hashes the next block that nobody has taken, with the lock let go meanwhile.
    fn take_block<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(file) = state.file.clone() else {
            return state;
        };
        let index = state.next;
        state.next += 1;
        let mut bytes = state.spare.pop().unwrap_or_default();
        drop(state);
        bytes.resize(GROUP.min(self.size - index * GROUP) as usize, 0);
        let block = file
            .read_exact_at(&mut bytes, index * GROUP)
            .map(|()| Block {
                value: self.value(index, &bytes),
                bytes,
            });
        drop(file);
        let mut state = self.lock();
        match block {
            Ok(block) => {
                state.ready.insert(index, block);
            }
            Err(error) => state.failed = Some(error),
        }
        self.turn.notify_all();
        state
    }

    fn value(&self, index: u64, bytes: &[u8]) -> ChainingValue {
        if self.blocks == 1 {
            Blake3::of(bytes).0
        } else {
            group_value(index, bytes)
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.turn
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[test]
    fn blocks_from_any_number_of_helpers_give_the_plain_digests() {
        let bytes: Vec<u8> = (0..11 * GROUP + 77).map(|i| (i * i % 253) as u8).collect();
        for len in [0, 1, GROUP - 1, GROUP, GROUP + 1, 11 * GROUP + 77] {
            let bytes = &bytes[..len as usize];
            for helpers in 0..4 {
                let pass = Pass::new(file(bytes), len);
                std::thread::scope(|s| {
                    for _ in 0..helpers {
                        s.spawn(|| pass.assist(|| false));
                    }
                    let content = pass.lead(|_| Ok::<_, io::Error>(())).unwrap();
                    assert_eq!(content.digests, Digests::of(bytes), "{len} {helpers}");
                    assert_eq!(content.head, &bytes[..bytes.len().min(HEAD)]);
                });
            }
        }
    }

    #[test]
    fn a_file_that_got_shorter_ends_the_pass_and_frees_the_file() {
        let file = file(&vec![1; 3 * GROUP as usize]);
        let pass = Pass::new(Arc::clone(&file), 20 * GROUP);
        std::thread::scope(|s| {
            s.spawn(|| pass.assist(|| false));
            let error = pass.lead(|_| Ok::<_, io::Error>(())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(Arc::strong_count(&file), 1);
        });
    }

    #[test]
    fn a_refusal_to_go_on_ends_the_pass_with_no_reader_left() {
        let file = file(&vec![1; 12 * GROUP as usize]);
        let pass = Pass::new(Arc::clone(&file), 12 * GROUP);
        std::thread::scope(|s| {
            s.spawn(|| pass.assist(|| false));
            let stop = pass.lead(|done| {
                if done < 5 * GROUP {
                    Ok(())
                } else {
                    Err(io::Error::other("enough"))
                }
            });
            assert_eq!(stop.unwrap_err().to_string(), "enough");
            assert_eq!(Arc::strong_count(&file), 1);
        });
    }
}
