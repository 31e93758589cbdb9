//! One appraisal of honest evidence that an input spoiled: from outside, where every byte is signed, or from inside the trust domain, which
//! signs what it is told to. Holds what is believed against what was done.

use std::thread::LocalKey;

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::appraise::{Appraisal, Check, Presented};
use atlas_manifests::evidence::event::EventDigest;
use atlas_manifests::evidence::{
    Beacon, Binding, Entry, Event, EventBody, EventLog, Evidence, KeyUse, Purpose, Rtmr,
};
use atlas_manifests::id::InstanceId;
use atlas_manifests::vocabulary::{Hardware, Tier};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::edit::Edit;
use crate::house::House;

/// What an input does.
#[derive(Debug, Arbitrary)]
pub struct Case {
    /// First: what the guest itself binds and logs. Nothing: it is honest.
    inside: Option<Guest>,
    /// Then: what is changed in what it handed out.
    outside: Vec<(Part, Edit)>,
    nonce: Option<[u8; 4]>,
    /// The verifier's clock is so many hours off.
    hours: i16,
    /// Bits of the policy.
    policy: u8,
}

/// A guest that is in somebody's hands. Nothing but zeros is honest, or no input would be believed far enough to matter.
#[derive(Debug, Arbitrary)]
struct Guest {
    purpose: u8,
    seq: Option<u64>,
    other_instance: bool,
    /// Whose evidence the log is said to go on from: nobody's, the honest one's, or another's.
    previous: u8,
    lost_keys: u8,
    nonce: Option<[u8; 4]>,
    wrong_claim: bool,
    /// In the text of its time.
    made: Vec<Edit>,
    from: Option<u64>,
    wrong_base: bool,
    /// It leaves out its beginning.
    no_start: bool,
    log: Vec<Logged>,
}

/// One entry of its log. Events are numbered as they should be, but for an error.
#[derive(Debug, Arbitrary)]
enum Logged {
    Start { dishonest: bool },
    Seal { error: u8, total: u64 },
    Anchor { error: u8, number: u64 },
    End { error: u8, own: bool },
    Unreadable(Vec<u8>),
    Digest(u8),
    Foreign(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Part {
    Binding,
    Quote,
    /// The whole record, as it is stored.
    Record,
    Ccel,
    Gpu,
    Collateral,
}

thread_local! {
    static HOUSE: House = House::new().expect("an honest house");
}

/// Of this thread: libFuzzer has one.
pub fn house() -> &'static LocalKey<House> {
    &HOUSE
}

impl Guest {
    fn evidence(&self, house: &House) -> Evidence {
        let honest = house.evidence();
        let before = honest.events.as_ref().map(EventLog::head);
        let before = before.expect("the honest log");
        let mut binding = honest.bound().expect("the honest binding");
        let start = binding.clone();
        binding.purpose = match self.purpose % 4 {
            0 => Purpose::Instance,
            1 => Purpose::Anchor,
            2 => Purpose::Answer,
            _ => Purpose::Manifest,
        };
        let seq = u64::from(binding.purpose != Purpose::Instance);
        binding.seq = self.seq.unwrap_or(seq);
        if self.other_instance {
            binding.instance = InstanceId([2; 16]);
        }
        binding.previous = match self.previous % 3 {
            0 => None,
            1 => Some(honest.id()),
            _ => Some(Sha256([8; 32])),
        };
        let goes_on = binding.previous.is_some();
        let keys = binding.keys.len();
        binding
            .keys
            .truncate(keys - usize::from(self.lost_keys) % (keys + 1));
        binding.beacon = self.nonce.map(|n| Beacon::Nonce(n.to_vec()));
        let claims = (binding.purpose == Purpose::Manifest) != self.wrong_claim;
        binding.claim = claims.then_some(Sha256([6; 32]));
        let mut made = binding.made.into_bytes();
        self.made.iter().for_each(|e| e.apply(&mut made));
        binding.made = String::from_utf8_lossy(&made).into_owned();
        let begins = goes_on != self.wrong_base;
        let mut log = EventLog {
            from: self.from.unwrap_or(if goes_on { before.count } else { 0 }),
            base: if begins { before.rtmr3 } else { Rtmr::ZERO },
            entries: Vec::new(),
        };
        // The honest log holds two events of the instance.
        let mut next = if goes_on { 2 } else { 0 };
        let first = (!goes_on && !self.no_start).then_some(Logged::Start { dishonest: false });
        for logged in first.iter().chain(&self.log) {
            log.entries.push(logged.entry(&start, &mut next));
        }
        house.attest(binding, log).expect("a quote")
    }
}

impl Logged {
    fn entry(&self, binding: &Binding, next: &mut u64) -> Entry {
        let key = |purpose| binding.key(purpose).unwrap_or(Sha256([0; 32]));
        let (error, body) = match self {
            Self::Start { dishonest } => (
                0,
                EventBody::Start {
                    seal_key: key(KeyUse::Seal),
                    log_key: key(KeyUse::Log),
                    config: binding.config,
                    program: if *dishonest {
                        Sha256([0xee; 32])
                    } else {
                        binding.program
                    },
                },
            ),
            Self::Seal { error, total } => (
                *error,
                EventBody::Seal {
                    total: *total,
                    batch: atlas_manifests::set::empty_head(),
                    log: None,
                },
            ),
            Self::Anchor { error, number } => (
                *error,
                EventBody::Anchor {
                    seq: *number,
                    previous: Sha256([8; 32]),
                },
            ),
            Self::End { error, .. } => (*error, EventBody::End { total: 1 }),
            Self::Unreadable(bytes) => return Entry::Event(bytes.clone()),
            Self::Digest(byte) => return Entry::Digest(EventDigest([*byte; 48])),
            Self::Foreign(byte) => return Entry::Foreign(Rtmr([*byte; 48])),
        };
        let other = matches!(self, Self::End { own: false, .. });
        let (instance, number) = if other {
            (InstanceId([3; 16]), 0)
        } else {
            *next += 1;
            (binding.instance, *next - 1)
        };
        let event = Event {
            instance,
            seq: number + u64::from(error),
            body,
        };
        Entry::Event(event.encode())
    }
}

impl Case {
    /// Spoils, appraises, and panics where what is believed cannot be.
    pub fn run(&self, house: &House) {
        let honest = house.evidence();
        let mut evidence = match &self.inside {
            Some(guest) => guest.evidence(house),
            None => honest.clone(),
        };
        let asked = evidence.clone();
        let mut collateral = house.collateral().to_vec();
        for (part, edit) in &self.outside {
            match part {
                Part::Binding => edit.apply(&mut evidence.binding),
                Part::Quote => edit.apply(&mut evidence.quote),
                Part::Ccel => evidence.ccel.iter_mut().for_each(|b| edit.apply(b)),
                Part::Gpu => evidence.gpu.iter_mut().for_each(|b| edit.apply(b)),
                Part::Collateral => edit.apply(&mut collateral),
                Part::Record => {
                    let mut bytes = evidence.encode();
                    edit.apply(&mut bytes);
                    if let Ok(read) = Evidence::decode(&bytes) {
                        assert_eq!(read.encode(), bytes, "one record, two spellings");
                        evidence = read;
                    }
                }
            }
        }
        let mut appraiser = house.appraiser();
        let hours = i64::from(self.hours);
        appraiser.clock.0 = appraiser.clock.0.saturating_add_signed(hours * 3600);
        appraiser.policy.freshness.require_nonce = self.policy & 1 != 0;
        appraiser.policy.freshness.max_age_seconds = (self.policy & 2 != 0).then_some(3600);
        appraiser.policy.runtime_log.allow_foreign = self.policy & 4 != 0;
        appraiser.policy.measurements.require_ccel = self.policy & 8 != 0;
        appraiser.policy.tcb.require_today = Some(self.policy & 16 != 0);
        let a = appraiser.appraise(&Presented {
            evidence: &evidence,
            earlier: &|id| (*id == honest.id()).then(|| honest.clone()),
            collateral: Some(&collateral),
            nonce: self.nonce.as_ref().map(|n| &n[..]),
        });
        if a.facts.hardware == Hardware::None || a.refused() {
            return;
        }
        assert_eq!(a.facts.hardware, Hardware::Simulated, "{a:?}");
        assert_eq!(
            evidence.binding, asked.binding,
            "another binding is believed"
        );
        assert_eq!(evidence.gpu, asked.gpu, "other GPU evidence is believed");
        self.believed(&a, &evidence);
        if self.inside.is_none() {
            let before = appraiser.appraise(&Presented {
                evidence: honest,
                earlier: &|_| None,
                collateral: Some(house.collateral()),
                nonce: self.nonce.as_ref().map(|n| &n[..]),
            });
            assert_eq!(a.facts, before.facts, "something else is believed");
        }
    }

    /// What must be true of a guest in anybody's hands whose evidence is not refused.
    fn believed(&self, a: &Appraisal, evidence: &Evidence) {
        let binding = evidence.bound().expect("it was read");
        assert!(binding.key(KeyUse::Seal).is_some());
        let log = evidence.events.as_ref();
        assert_eq!(binding.events, log.map(EventLog::head));
        assert_eq!(a.facts.instance, Some(binding.instance));
        if a.tier(Check::Freshness) == Tier::Affirming {
            let nonce = self.nonce.map(|n| Beacon::Nonce(n.to_vec()));
            assert!(nonce.is_some() && binding.beacon == nonce);
        }
        if a.tier(Check::RuntimeLog) == Tier::Affirming {
            let log = log.expect("there is one");
            assert_eq!(log.foreign(), 0, "a foreign extension is believed");
            // An honest log was in front of it, or it has its own beginning.
            let begins = |e: &Entry| match e {
                Entry::Event(bytes) => Event::decode(bytes).is_ok_and(|e| {
                    e.instance == binding.instance && matches!(e.body, EventBody::Start { .. })
                }),
                _ => false,
            };
            let starts = log.entries.iter().filter(|e| begins(e)).count();
            match binding.previous {
                None => assert_eq!((log.from, starts), (0, 1)),
                Some(_) => assert!(log.from > 0 && starts <= 1),
            }
        }
    }
}
