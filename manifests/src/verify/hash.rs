//! Both digests of an open file in one pass, with proof that it did not change meanwhile. Not the daemon's digests, which resume and share.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use sha2::Digest as _;

use crate::digest::{Blake3, Digests, Sha256};

/// Bytes per read.
const CHUNK: usize = 1 << 20;
/// Chunks read ahead of the slower digest.
const AHEAD: usize = 8;
/// How often a file is hashed that changes while it is read.
const ATTEMPTS: usize = 3;

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Size or times moved while it was read.
    #[error("it changed while it was read")]
    Changed,
}

/// Hashes everything in the file from its beginning, BLAKE3 and SHA-256 side by side. `progress` gets the bytes done, and the size.
///
/// A mount may have told size and times of before a change that it had not heard of; reading brings them up to date. So a file that
/// seems to have changed is hashed again from its beginning, and only one that goes on changing is refused.
pub fn digests(file: &mut File, progress: &dyn Fn(u64, u64)) -> Result<Digests, HashError> {
    let mut result = once(file, progress);
    for _ in 1..ATTEMPTS {
        if !matches!(result, Err(HashError::Changed)) {
            break;
        }
        result = once(file, progress);
    }
    result
}

fn once(file: &mut File, progress: &dyn Fn(u64, u64)) -> Result<Digests, HashError> {
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(HashError::NotAFile);
    }
    file.rewind()?;
    let (blake3, sha256, size) = std::thread::scope(|scope| {
        let (send, receive) = sync_channel::<Arc<Vec<u8>>>(AHEAD);
        let tree = scope.spawn(move || {
            let mut h = blake3::Hasher::new();
            for chunk in receive {
                h.update(&chunk);
            }
            Blake3(*h.finalize().as_bytes())
        });
        let mut h = sha2::Sha256::new();
        let mut size = 0u64;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            size += chunk.len() as u64;
            // Somebody may append as fast as we read: such a file has no end.
            if size > before.len() {
                break;
            }
            let chunk = Arc::new(chunk);
            if send.send(Arc::clone(&chunk)).is_err() {
                break;
            }
            h.update(&*chunk);
            progress(size, before.len());
        }
        drop(send);
        let blake3 = tree
            .join()
            .map_err(|_| io::Error::other("the hashing thread failed"))?;
        Ok::<_, io::Error>((blake3, Sha256(h.finalize().into()), size))
    })?;
    let after = file.metadata()?;
    let shape = |m: &std::fs::Metadata| {
        (
            m.len(),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
        )
    };
    if shape(&before) != shape(&after) || size != before.len() {
        return Err(HashError::Changed);
    }
    Ok(Digests {
        blake3,
        sha256,
        size,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_digests_are_those_of_the_bytes_around_the_chunk_size() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            assert_eq!(
                digests(&mut file, &|_, _| {}).unwrap(),
                Digests::of(&bytes),
                "{size}"
            );
        }
    }

    #[test]
    fn a_file_written_while_it_is_read_has_no_digest() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 2 * CHUNK]).unwrap();
        let other = std::cell::RefCell::new(file.try_clone().unwrap());
        let grow = |_, _| other.borrow_mut().set_len(5 * CHUNK as u64).unwrap();
        assert!(matches!(digests(&mut file, &grow), Err(HashError::Changed)));
    }

    #[test]
    fn a_file_that_grows_as_fast_as_it_is_read_is_given_up() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; CHUNK]).unwrap();
        let other = std::cell::RefCell::new(file.try_clone().unwrap());
        let reads = std::cell::Cell::new(0);
        let grow = |done, _| {
            reads.set(reads.get() + 1);
            assert!(reads.get() < 100, "it goes on for ever");
            other.borrow_mut().set_len(done + 2 * CHUNK as u64).unwrap();
        };
        assert!(matches!(digests(&mut file, &grow), Err(HashError::Changed)));
    }

    #[test]
    fn a_directory_is_not_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::open(dir.path()).unwrap();
        assert!(matches!(
            digests(&mut file, &|_, _| {}),
            Err(HashError::NotAFile)
        ));
    }
}
