//! What a witness signs (C2SP tlog-cosignature, cosignature/v1): that it saw no larger head at that time, and that this one extends all before.
//! Not how it is asked: `atlas_net::witness`.

use super::checkpoint::Checkpoint;
use super::note::{KeyKind, Signature, VerifierKey};

/// What one witness says of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witnessed {
    /// It did not cosign.
    No,
    /// It did, at this time in seconds since 1970.
    At(u64),
    /// A line says that it did, and it did not.
    Forged,
}

/// The bytes that a witness signs at `time`, in seconds since 1970.
pub fn message(checkpoint: &Checkpoint, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{}", checkpoint.note.text).into_bytes()
}

/// The line that a witness answers with: `sign` makes an Ed25519 signature with the key of `witness`.
pub fn cosign(
    witness: &VerifierKey,
    checkpoint: &Checkpoint,
    time: u64,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Signature {
    let signature = sign(&message(checkpoint, time));
    witness.line([&time.to_be_bytes()[..], &signature].concat())
}

/// What this witness says of a checkpoint. Of several valid lines the latest counts.
pub fn witnessed(checkpoint: &Checkpoint, witness: &VerifierKey) -> Witnessed {
    let mut said = Witnessed::No;
    for line in checkpoint
        .note
        .signatures
        .iter()
        .filter(|s| witness.made(s))
    {
        let Some((time, signature)) = line.bytes.split_first_chunk::<8>() else {
            return Witnessed::Forged;
        };
        let time = u64::from_be_bytes(*time);
        let valid = witness.kind() == KeyKind::Cosignature
            && time <= i64::MAX as u64
            && witness.verify(&message(checkpoint, time), signature);
        if !valid {
            return Witnessed::Forged;
        }
        if !matches!(said, Witnessed::At(before) if before >= time) {
            said = Witnessed::At(time);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{TestKey, head};

    #[test]
    fn a_cosignature_covers_time_and_head_and_belongs_to_its_key() {
        let witness = TestKey::witness("w.example", 7);
        let mut c = Checkpoint::of(head(b"root", 5)).unwrap();
        assert_eq!(witnessed(&c, &witness.key), Witnessed::No);
        let line = cosign(&witness.key, &c, 1000, |m| witness.sign(m));
        c.note.add(line.clone());
        assert_eq!(witnessed(&c, &witness.key), Witnessed::At(1000));
        let other = TestKey::witness("w.example", 8);
        assert_eq!(witnessed(&c, &other.key), Witnessed::No);

        let mut later = c.clone();
        later.note.signatures[0].bytes[7] ^= 1;
        assert_eq!(witnessed(&later, &witness.key), Witnessed::Forged);
        let mut grown = Checkpoint::of(head(b"root", 6)).unwrap();
        grown.note.add(line);
        assert_eq!(witnessed(&grown, &witness.key), Witnessed::Forged);
        // A plain signature of the witness' key is no cosignature.
        let mut plain = Checkpoint::of(head(b"root", 5)).unwrap();
        let text = plain.note.text.clone();
        plain
            .note
            .add(witness.key.line(witness.sign(text.as_bytes()).to_vec()));
        assert_eq!(witnessed(&plain, &witness.key), Witnessed::Forged);
    }
}
