//! The event log that explains RTMR3 (FORMAT.md 7.2): what is written, what it extends by, and its replay. Extends nothing itself.
//!
//! RTMR3 belongs to the whole machine and is never set back before a reset: one log for all daemons of a boot. Of what others extended
//! only the digest is carried along.

use sha2::Digest as _;

use crate::cbor::{CborError, Reader, Writer};
use crate::digest::{Sha256, hex};
use crate::id::InstanceId;
use crate::statement::SetHead;

use super::binding::LogHead;

/// First word of an event.
const FORMAT: &str = "atlas-event-1";
/// What is hashed before an event.
const DOMAIN: &[u8] = b"atlas/ev/v1\0";

/// The value of a runtime measurement register: SHA-384.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rtmr(pub [u8; 48]);

impl Rtmr {
    /// What RTMR3 holds after a reset.
    pub const ZERO: Self = Self([0; 48]);

    /// The register after an extension: SHA-384(old || digest).
    #[must_use]
    pub fn extended(self, digest: &EventDigest) -> Self {
        let mut hash = sha2::Sha384::new_with_prefix(self.0);
        hash.update(digest.0);
        Self(hash.finalize().into())
    }
}

impl std::fmt::Debug for Rtmr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What an event extends RTMR3 by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventDigest(pub [u8; 48]);

/// Where an event log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHead {
    /// Number of entries.
    pub count: u64,
    /// What RTMR3 is after them.
    pub rtmr3: Rtmr,
}

/// Something that a daemon did and cannot take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which life of which daemon.
    pub instance: InstanceId,
    /// Its number within the instance, from 0.
    pub seq: u64,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// An instance begins.
    Start {
        /// SHA-256 of the SubjectPublicKeyInfo of the key that seals.
        seal_key: Sha256,
        /// The same of the key that signs checkpoints.
        log_key: Sha256,
        /// SHA-256 of the effective configuration.
        config: Sha256,
        /// SHA-256 of the daemon's executable.
        program: Sha256,
    },
    /// A batch was sealed.
    Seal {
        /// Manifests of the instance, up to and with this batch.
        total: u64,
        /// RFC 6962 head over the SHA-256 of the batch's manifests, in their order.
        batch: SetHead,
        /// The transparency log's head with them; `None` until there is a log.
        log: Option<LogHead>,
    },
    /// Another quote is about to be asked for.
    Anchor {
        /// Its number (`Binding::seq`).
        seq: u64,
        /// The evidence before it.
        previous: Sha256,
    },
    /// The instance ends in order.
    End {
        /// Manifests of the instance in all.
        total: u64,
    },
}

impl Event {
    /// Deterministic CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.array(5);
        w.text(FORMAT);
        w.bytes(&self.instance.0);
        w.uint(self.seq);
        match &self.body {
            EventBody::Start {
                seal_key,
                log_key,
                config,
                program,
            } => {
                w.text("start");
                w.array(4);
                for digest in [seal_key, log_key, config, program] {
                    w.bytes(&digest.0);
                }
            }
            EventBody::Seal { total, batch, log } => {
                w.text("seal");
                w.array(4);
                w.uint(*total);
                w.uint(batch.size);
                w.bytes(&batch.root.0);
                LogHead::write(log.as_ref(), &mut w);
            }
            EventBody::Anchor { seq, previous } => {
                w.text("anchor");
                w.array(2);
                w.uint(*seq);
                w.bytes(&previous.0);
            }
            EventBody::End { total } => {
                w.text("end");
                w.array(1);
                w.uint(*total);
            }
        }
        w.0
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one event in its one spelling.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(bytes);
        r.array_of(5)?;
        if r.text()? != FORMAT {
            return Err(r.error("not an event of a known format"));
        }
        let instance = InstanceId(r.fixed()?);
        let seq = r.uint()?;
        let body = match r.text()? {
            "start" => {
                r.array_of(4)?;
                EventBody::Start {
                    seal_key: Sha256(r.fixed()?),
                    log_key: Sha256(r.fixed()?),
                    config: Sha256(r.fixed()?),
                    program: Sha256(r.fixed()?),
                }
            }
            "seal" => {
                r.array_of(4)?;
                let total = r.uint()?;
                let batch = SetHead {
                    size: r.uint()?,
                    root: Sha256(r.fixed()?),
                };
                let log = LogHead::read(&mut r)?;
                EventBody::Seal { total, batch, log }
            }
            "anchor" => {
                r.array_of(2)?;
                EventBody::Anchor {
                    seq: r.uint()?,
                    previous: Sha256(r.fixed()?),
                }
            }
            "end" => {
                r.array_of(1)?;
                EventBody::End { total: r.uint()? }
            }
            _ => return Err(r.error("an unknown kind of event")),
        };
        r.end()?;
        Ok(Self {
            instance,
            seq,
            body,
        })
    }

    /// What RTMR3 is extended by.
    pub fn digest(&self) -> EventDigest {
        digest(&self.encode())
    }
}

/// What RTMR3 is extended by for an encoded event.
pub fn digest(event: &[u8]) -> EventDigest {
    let mut hash = sha2::Sha384::new_with_prefix(DOMAIN);
    hash.update(event);
    EventDigest(hash.finalize().into())
}

/// One extension of RTMR3, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An event, in full.
    Event(Vec<u8>),
    /// An event of another instance: only what it extended by.
    Digest(EventDigest),
    /// Somebody extended RTMR3 beside us: what it was found to be then. No replay can lead there.
    Foreign(Rtmr),
}

impl Entry {
    pub(super) fn write(&self, w: &mut Writer) {
        w.array(2);
        match self {
            Self::Event(event) => {
                w.uint(0);
                w.bytes(event);
            }
            Self::Digest(digest) => {
                w.uint(1);
                w.bytes(&digest.0);
            }
            Self::Foreign(value) => {
                w.uint(2);
                w.bytes(&value.0);
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, CborError> {
        r.array_of(2)?;
        match r.uint()? {
            0 => Ok(Self::Event(r.bytes()?.to_vec())),
            1 => Ok(Self::Digest(EventDigest(r.fixed()?))),
            2 => Ok(Self::Foreign(Rtmr(r.fixed()?))),
            _ => Err(r.error("an unknown kind of entry")),
        }
    }

    /// One entry by itself, as the log on a machine has them.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.0
    }

    /// Reads one entry by itself.
    ///
    /// # Errors
    /// When the bytes are not exactly one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(bytes);
        let entry = Self::read(&mut r)?;
        r.end()?;
        Ok(entry)
    }

    /// The register after this entry.
    pub fn apply(&self, before: Rtmr) -> Rtmr {
        match self {
            Self::Event(event) => before.extended(&digest(event)),
            Self::Digest(digest) => before.extended(digest),
            Self::Foreign(value) => *value,
        }
    }

    /// Without what concerns only another instance. What cannot be read is of another: a newer daemon writes into the same log.
    #[must_use]
    pub fn seen_by(&self, instance: InstanceId) -> Self {
        let own = |event: &[u8]| Event::decode(event).is_ok_and(|e| e.instance == instance);
        match self {
            Self::Event(event) if !own(event) => Self::Digest(digest(event)),
            other => other.clone(),
        }
    }
}

/// A stretch of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    /// How many entries came before.
    pub from: u64,
    /// What RTMR3 was before the first entry here.
    pub base: Rtmr,
    /// What came then.
    pub entries: Vec<Entry>,
}

impl EventLog {
    /// What RTMR3 is at its end.
    pub fn head(&self) -> EventHead {
        EventHead {
            // A stranger may say that any number came before.
            count: self.from.saturating_add(self.entries.len() as u64),
            rtmr3: self.entries.iter().fold(self.base, |r, e| e.apply(r)),
        }
    }

    /// How often somebody else was found to have extended RTMR3.
    pub fn foreign(&self) -> usize {
        let foreign = |e: &&Entry| matches!(e, Entry::Foreign(_));
        self.entries.iter().filter(foreign).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing (`appraise`): the number is anybody's, and the sum was a panic.
    #[test]
    fn a_log_after_more_entries_than_can_be_counted_has_a_head() {
        let log = EventLog {
            from: u64::MAX,
            base: Rtmr::ZERO,
            entries: vec![Entry::Foreign(Rtmr::ZERO)],
        };
        assert_eq!(log.head().count, u64::MAX);
    }
    use proptest::prelude::*;

    pub(crate) fn any_event() -> impl Strategy<Value = Event> {
        let body = prop_oneof![
            Just(EventBody::Start {
                seal_key: Sha256([1; 32]),
                log_key: Sha256([2; 32]),
                config: Sha256([3; 32]),
                program: Sha256([4; 32]),
            }),
            (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), any::<bool>()).prop_map(
                |(total, size, root, logged)| {
                    let batch = SetHead {
                        size,
                        root: Sha256(root),
                    };
                    let log = logged.then(|| LogHead {
                        origin: "log".to_owned(),
                        head: batch,
                    });
                    EventBody::Seal { total, batch, log }
                }
            ),
            (any::<u64>(), any::<[u8; 32]>()).prop_map(|(seq, p)| EventBody::Anchor {
                seq,
                previous: Sha256(p)
            }),
            any::<u64>().prop_map(|total| EventBody::End { total }),
        ];
        (any::<[u8; 16]>(), any::<u64>(), body).prop_map(|(instance, seq, body)| Event {
            instance: InstanceId(instance),
            seq,
            body,
        })
    }

    fn log(events: &[Event]) -> EventLog {
        EventLog {
            from: 0,
            base: Rtmr::ZERO,
            entries: events.iter().map(|e| Entry::Event(e.encode())).collect(),
        }
    }

    #[test]
    fn the_first_extension_is_the_one_of_the_format() {
        let event = Event {
            instance: InstanceId([0x11; 16]),
            seq: 0,
            body: EventBody::End { total: 3 },
        };
        assert_eq!(
            hex(&Rtmr::ZERO.extended(&event.digest()).0),
            "e6d475245099bc95aaa7e21ceb08cc2e554da5bd25f73f15e03b57ecfeb68ea81a8ee8c03fc929c0a496f017865a5880"
        );
    }

    proptest! {
        #[test]
        fn an_event_reads_back_and_each_byte_of_it_counts(event in any_event(), at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = event.encode();
            prop_assert_eq!(Event::decode(&bytes), Ok(event.clone()));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_ne!(digest(&bytes), event.digest());
        }

        /// Order, number and content of events all stand in the register.
        #[test]
        fn a_log_that_is_reordered_shortened_or_lengthened_replays_to_something_else(
            events in prop::collection::vec(any_event(), 2..12), at: prop::sample::Index, to: prop::sample::Index,
        ) {
            let honest = log(&events).head().rtmr3;
            let (at, to) = (at.index(events.len()), to.index(events.len()));
            let mut dropped = events.clone();
            let one = dropped.remove(at);
            prop_assert_ne!(log(&dropped).head().rtmr3, honest);
            let mut doubled = events.clone();
            doubled.insert(at, one);
            prop_assert_ne!(log(&doubled).head().rtmr3, honest);
            let mut swapped = events.clone();
            swapped.swap(at, to);
            prop_assert_eq!(log(&swapped).head().rtmr3 == honest, swapped == events);
        }

        /// Whoever gets the evidence of one mount learns nothing of another's, and the register stays explained.
        #[test]
        fn what_others_did_is_carried_by_digest_and_replays_the_same(events in prop::collection::vec(any_event(), 1..8)) {
            let whole = log(&events);
            let own = events[0].instance;
            let entries: Vec<_> = whole.entries.iter().map(|e| e.seen_by(own)).collect();
            for (event, entry) in events.iter().zip(&entries) {
                prop_assert_eq!(matches!(entry, Entry::Event(_)), event.instance == own);
            }
            let seen = EventLog { entries, ..whole.clone() };
            prop_assert_eq!(seen.head(), whole.head());
        }

        #[test]
        fn an_event_that_cannot_be_read_is_carried_by_digest(event in any_event(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Entry::Event(bytes.clone()).seen_by(event.instance), Entry::Digest(digest(&bytes)));
        }

        #[test]
        fn no_bytes_panic_the_readers(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(event.encode(), bytes.clone());
            }
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
