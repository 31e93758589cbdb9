//! A log's head as it is signed (C2SP tlog-checkpoint): origin, size, root. Not the tree.

use super::note::{Note, NoteError, Signed, VerifierKey, is_name};
use crate::bytes::{base64, unbase64};
use crate::digest::Sha256;
pub use crate::evidence::LogHead;
use crate::merkle::empty_root;
use crate::statement::SetHead;

/// A head that somebody may have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log, how large, which root.
    pub head: LogHead,
    /// The note that says it.
    pub note: Note,
}

impl Checkpoint {
    /// A head, not signed yet.
    ///
    /// # Errors
    /// When the origin could not stand in a checkpoint.
    pub fn of(head: LogHead) -> Result<Self, NoteError> {
        if !is_name(&head.origin) {
            return Err(NoteError(
                "a log's origin is empty, or has spaces or a plus",
            ));
        }
        let LogHead {
            origin,
            head: SetHead { size, root },
        } = &head;
        let text = format!("{origin}\n{size}\n{}\n", base64(&root.0));
        Ok(Self {
            note: Note::of(text),
            head,
        })
    }

    /// Reads untrusted bytes. Extension lines are part of what is signed and mean nothing here.
    ///
    /// # Errors
    /// When they are not exactly one checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let note = Note::parse(bytes)?;
        let mut lines = note.text.split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError("a checkpoint has three lines"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(NoteError("a checkpoint has an empty line"));
        }
        let size = decimal(size).ok_or(NoteError("a checkpoint's size is no number"))?;
        let root = unbase64(root)
            .and_then(|r| r.try_into().ok())
            .map(Sha256)
            .ok_or(NoteError("a checkpoint's root is no SHA-256 in base64"))?;
        if size == 0 && root != empty_root() {
            return Err(NoteError("a checkpoint of no leaves has another root"));
        }
        let head = LogHead {
            origin: origin.to_owned(),
            head: SetHead { size, root },
        };
        Ok(Self { head, note })
    }

    /// As it is stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        self.note.encode()
    }

    /// Whether the log whose key this is signed it: the key's name is the origin, as C2SP has it.
    pub fn signed_by_log(&self, key: &VerifierKey) -> Signed {
        if key.name() == self.head.origin {
            self.note.signed_by(key)
        } else {
            Signed::No
        }
    }
}

/// ASCII decimal without leading zeroes.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn the_example_of_the_specification_is_read_and_written_alike() {
        let read = Checkpoint::parse(SPEC.as_bytes()).unwrap();
        assert_eq!(read.head.origin, "example.com/behind-the-sofa");
        assert_eq!(read.head.head.size, 20_852_163);
        assert_eq!(read.encode(), SPEC.as_bytes());
        let made = Checkpoint::of(read.head.clone()).unwrap();
        assert_eq!(made.note.text, read.note.text);
    }

    #[test]
    fn other_spellings_of_a_size_or_a_root_are_refused() {
        for (from, to) in [
            ("\n20852163", "\n020852163"),
            ("\n20852163", "\n+20852163"),
            ("\n20852163", "\n"),
            ("\n20852163", "\n18446744073709551616"),
            ("\n20852163", "\n0"),
            ("q2I=\n", "q2J=\n"),
            ("q2I=\n", "q2I\n"),
            ("q2I=\n", "\n"),
            ("example.com/behind-the-sofa\n2", "\n2"),
            ("q2I=\n\n", "q2I=\n\next\n\n"),
        ] {
            let bad = SPEC.replacen(from, to, 1);
            assert_ne!(bad, SPEC);
            assert!(Checkpoint::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn extension_lines_are_signed_and_say_nothing() {
        let with = SPEC.replacen("q2I=\n", "q2I=\nmore\n", 1);
        let read = Checkpoint::parse(with.as_bytes()).unwrap();
        assert_eq!(read.head.head.size, 20_852_163);
        assert!(read.note.text.ends_with("more\n"));
    }
}
