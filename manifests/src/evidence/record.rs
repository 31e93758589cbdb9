//! One piece of evidence as it is stored and handed on (FORMAT.md 7.3): binding, quote, event log and what belongs to them. Untrusted until appraised.

use super::binding::{Binding, BindingError};
use super::event::{Entry, EventLog, Rtmr};
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::Sha256;

/// First word of a record.
const FORMAT: &str = "atlas-evidence-1";
/// No record is longer, in bytes.
pub const MAX_RECORD: usize = 64 << 20;
/// No quote is longer, in bytes. Today's are 5 to 8 KiB; the kernel's documentation speaks of larger ones to come.
pub const MAX_QUOTE: usize = 128 << 10;

/// Evidence as collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What is bound, in its bytes.
    pub binding: Vec<u8>,
    /// The TDX quote, without padding.
    pub quote: Vec<u8>,
    /// What extended RTMR3 since `Binding::previous`; `None` where it cannot be extended.
    pub events: Option<EventLog>,
    /// The firmware's and boot loader's event log (CCEL), which explains RTMR0 to 2. In what stands alone: an instance's first evidence, and answers.
    pub ccel: Option<Vec<u8>>,
    /// GPU evidence, whose digest is bound.
    pub gpu: Option<Vec<u8>>,
    /// Names the collateral that was captured when it was made.
    pub collateral: Option<Sha256>,
}

/// Why bytes are no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the record.
    #[error("not a record of evidence: {0}")]
    Shape(#[from] CborError),
    /// Its binding cannot be read.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// Too long.
    #[error(
        "not a record of evidence: longer than {MAX_RECORD} bytes, or a quote longer than {MAX_QUOTE}"
    )]
    TooLong,
}

impl Evidence {
    /// Deterministic CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.array(7);
        w.text(FORMAT);
        w.bytes(&self.binding);
        w.bytes(&self.quote);
        match &self.events {
            Some(log) => {
                w.array(3);
                w.uint(log.from);
                w.bytes(&log.base.0);
                w.array(log.entries.len());
                for entry in &log.entries {
                    entry.write(&mut w);
                }
            }
            None => w.null(),
        }
        for part in [&self.ccel, &self.gpu] {
            match part {
                Some(bytes) => w.bytes(bytes),
                None => w.null(),
            }
        }
        match self.collateral {
            Some(name) => w.bytes(&name.0),
            None => w.null(),
        }
        w.0
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one record. Its parts are still untrusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLong);
        }
        let mut r = Reader::new(bytes);
        r.array_of(7)?;
        if r.text()? != FORMAT {
            return Err(r.error("it begins with another word").into());
        }
        let binding = r.bytes()?.to_vec();
        let quote = r.bytes()?.to_vec();
        if quote.len() > MAX_QUOTE {
            return Err(RecordError::TooLong);
        }
        let events = if r.null() {
            None
        } else {
            r.array_of(3)?;
            let (from, base) = (r.uint()?, Rtmr(r.fixed()?));
            let entries = (0..r.array()?)
                .map(|_| Entry::read(&mut r))
                .collect::<Result<_, _>>()?;
            Some(EventLog {
                from,
                base,
                entries,
            })
        };
        let mut part = || -> Result<Option<Vec<u8>>, CborError> {
            if r.null() {
                return Ok(None);
            }
            Ok(Some(r.bytes()?.to_vec()))
        };
        let (ccel, gpu) = (part()?, part()?);
        let collateral = if r.null() {
            None
        } else {
            Some(Sha256(r.fixed()?))
        };
        r.end()?;
        Ok(Self {
            binding,
            quote,
            events,
            ccel,
            gpu,
            collateral,
        })
    }

    /// What names it: the SHA-256 of the binding. Two quotes of one binding are one evidence.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.binding)
    }

    /// The binding, read.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn bound(&self) -> Result<Binding, BindingError> {
        Binding::decode(&self.binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::binding::tests::binding;
    use proptest::prelude::*;

    fn evidence() -> Evidence {
        Evidence {
            binding: binding().encode(),
            quote: vec![4; 200],
            events: Some(EventLog {
                from: 0,
                base: Rtmr::ZERO,
                entries: vec![Entry::Foreign(Rtmr([1; 48])), Entry::Event(vec![1, 2])],
            }),
            ccel: Some(vec![1; 30]),
            gpu: None,
            collateral: Some(Sha256([9; 32])),
        }
    }

    #[test]
    fn a_record_reads_back_and_another_quote_of_its_binding_has_its_name() {
        let one = evidence();
        assert_eq!(Evidence::decode(&one.encode()), Ok(one.clone()));
        let other = Evidence {
            quote: vec![5; 300],
            ..one.clone()
        };
        assert_eq!(one.id(), other.id());
    }

    proptest! {
        #[test]
        fn a_damaged_record_is_refused_or_reads_as_something_else(at: prop::sample::Index, flip in 1u8..) {
            let one = evidence();
            let mut bytes = one.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(read) = Evidence::decode(&bytes) {
                prop_assert_ne!(&read, &one);
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn no_bytes_panic_the_reader_nor_make_it_reserve_what_they_claim(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut framed = vec![0x87, 0x70];
            framed.extend(FORMAT.as_bytes());
            framed.extend(&bytes);
            let _ = Evidence::decode(&framed);
            let _ = Evidence::decode(&bytes);
        }
    }
}
