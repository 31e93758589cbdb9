//! The body of `add-checkpoint` (C2SP tlog-witness), as a log sends it and a witness reads it. Not what is answered.

use atlas_manifests::bytes::{base64, unbase64};
use atlas_manifests::digest::Sha256;
use atlas_manifests::log::note::{MAX_NOTE, Note};

/// No proof of consistency has more hashes.
pub(crate) const MAX_PROOF: usize = 63;
/// No body is longer, in bytes.
pub(crate) const MAX_BODY: usize = MAX_NOTE + 64 + MAX_PROOF * 45;

/// What a witness is asked to cosign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The size that the proof goes from.
    pub(crate) old: u64,
    /// The proof of consistency.
    pub(crate) proof: Vec<Sha256>,
    /// A checkpoint, as a note.
    pub(crate) note: Note,
}

impl Request {
    /// As it is sent.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = format!("old {}\n", self.old);
        for hash in &self.proof {
            out.push_str(&base64(&hash.0));
            out.push('\n');
        }
        out.push('\n');
        let mut out = out.into_bytes();
        out.extend(self.note.encode());
        out
    }

    /// Reads untrusted bytes; `None` when they are no such body.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(2).position(|w| w == b"\n\n")?;
        let head = std::str::from_utf8(&bytes[..at]).ok()?;
        let mut lines = head.split('\n');
        let old = decimal(lines.next()?.strip_prefix("old ")?)?;
        let proof = lines
            .take(MAX_PROOF + 1)
            .map(|l| Some(Sha256(unbase64(l)?.try_into().ok()?)))
            .collect::<Option<Vec<_>>>()?;
        if proof.len() > MAX_PROOF {
            return None;
        }
        let note = Note::parse(&bytes[at + 2..]).ok()?;
        Some(Self { old, proof, note })
    }
}

/// ASCII decimal without leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Request {
        let text = "log.example\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let line = "\n\u{2014} log.example Uw2QOkn8srV1yJGh\n";
        Request {
            old: 1,
            proof: vec![Sha256([7; 32])],
            note: Note::parse(format!("{text}{line}").as_bytes()).unwrap(),
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for (old, proof) in [(0, vec![]), (1, vec![Sha256([7; 32]); MAX_PROOF])] {
            let mut request = example();
            (request.old, request.proof) = (old, proof);
            let bytes = request.encode();
            assert!(bytes.len() <= MAX_BODY);
            assert_eq!(Request::parse(&bytes), Some(request));
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        let text = String::from_utf8(example().encode()).unwrap();
        for (from, to) in [
            ("old 1", "old 01"),
            ("old 1", "old +1"),
            ("old 1", "old "),
            ("old 1", "old 1 "),
            ("old 1", "old 18446744073709551616"),
            ("old 1", "new 1"),
            ("old 1\n", "old 1\r\n"),
            ("old 1\n", "old 1\nBwc=\n"),
            ("old 1\n", "\nold 1\n"),
            ("\n\nlog", "\nlog"),
            ("Uw2Q", "Uw2"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text);
            assert_eq!(Request::parse(bad.as_bytes()), None, "{bad}");
        }
        let mut many = example();
        many.proof = vec![Sha256([7; 32]); MAX_PROOF + 1];
        assert_eq!(Request::parse(&many.encode()), None);
        assert_eq!(Request::parse(b""), None);
    }
}
