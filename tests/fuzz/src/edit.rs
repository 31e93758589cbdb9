//! Changes of bytes that an input asks for: small ones, so that what is around them stays whole.

use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// One change. Places beyond the end wrap around.
#[derive(Debug, Arbitrary)]
pub enum Edit {
    /// One bit becomes the other.
    Flip(u16, u8),
    /// Bytes are written over those that are there.
    Write(u16, Vec<u8>),
    /// Bytes are put between.
    Insert(u16, Vec<u8>),
    /// So many are taken out.
    Remove(u16, u8),
    /// Everything from here on is gone.
    Cut(u16),
    /// All of it becomes this.
    Replace(Vec<u8>),
}

impl Edit {
    /// Does it.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at).checked_rem(bytes.len()).unwrap_or(0);
        match self {
            Self::Flip(at, bit) => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Write(at, new) => {
                let at = place(*at);
                let end = bytes.len().min(at + new.len());
                bytes.splice(at..end, new.iter().copied());
            }
            Self::Insert(at, new) => {
                let at = place(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, n) => {
                let at = place(*at);
                let end = bytes.len().min(at + usize::from(*n));
                bytes.drain(at..end);
            }
            Self::Cut(at) => {
                let at = place(*at);
                bytes.truncate(at);
            }
            Self::Replace(new) => bytes.clone_from(new),
        }
    }
}
