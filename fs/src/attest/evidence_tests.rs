use std::path::Path;

use atlas_manifests::evidence::appraise::{Check, Presented};
use atlas_manifests::evidence::quote::{Quote, attribute};
use atlas_manifests::evidence::{Appraiser, Entry, Event, LogHead, Rtmr};
use atlas_manifests::vocabulary::Tier;
use tempfile::TempDir;

use super::*;
use crate::attest::testing::{FakeTd, OldKernel};

struct Bench {
    dir: TempDir,
    td: Arc<FakeTd>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let td = Arc::new(FakeTd::new(dir.path()));
        Self { dir, td }
    }

    fn events(&self) -> EventFile {
        let machine = Arc::clone(&self.td) as _;
        EventFile::open_in(&self.dir.path().join("tdx"), machine, Sha256([5; 32]))
            .unwrap()
            .unwrap()
    }

    fn setup(&self, instance: u8) -> Setup {
        let machine = Arc::clone(&self.td) as _;
        setup(machine, Some(self.events()), instance)
    }

    fn begin(&self, instance: u8) -> (Attester, Evidence) {
        Attester::begin(self.setup(instance)).unwrap()
    }

    fn fault(&self) -> MutexGuard<'_, crate::attest::testing::Faults> {
        self.td.faults.lock().unwrap()
    }

    fn quotes(&self) -> usize {
        *self.td.quotes.lock().unwrap()
    }
}

/// Before there is a log.
struct NoLog;

impl LogSource for NoLog {
    fn head(&self) -> Option<LogHead> {
        None
    }

    fn head_with_all(&self) -> Option<LogHead> {
        None
    }
}

fn setup(machine: Arc<dyn Machine>, events: Option<EventFile>, instance: u8) -> Setup {
    Setup {
        machine,
        events,
        instance: InstanceId([instance; 16]),
        keys: vec![
            BoundKey::of(KeyUse::Seal, &[instance; 32]),
            BoundKey::of(KeyUse::Log, &[instance.wrapping_add(1); 32]),
        ],
        config: Sha256([3; 32]),
        program: Sha256([4; 32]),
        log: Arc::new(NoLog),
        image: Some("image".to_owned()),
        gpu: None,
        collateral: None,
        within: Duration::from_secs(45),
    }
}

/// What every published evidence must be by itself: it reads back, and quote, binding and event log are about each other.
fn sound(evidence: &Evidence) -> Binding {
    let read = Evidence::decode(&evidence.encode()).unwrap();
    assert_eq!(read, *evidence);
    let binding = read.bound().unwrap();
    let quote = Quote::parse(&read.quote).unwrap();
    assert_eq!(quote.bytes.len(), read.quote.len(), "padding is published");
    quote.consistent().unwrap();
    assert_eq!(quote.attributes() & attribute::DEBUG, 0);
    assert_eq!(quote.report_data(), binding.report_data());
    let head = read.events.as_ref().map(EventLog::head);
    assert_eq!(binding.events, head);
    if let Some(head) = head {
        assert_eq!(quote.rtmr(3), head.rtmr3);
    }
    binding
}

/// What a verifier finds wrong with key binding and event log, who has these earlier ones, and how many events it counts.
fn appraised(evidence: &Evidence, earlier: &[&Evidence]) -> (Vec<String>, Option<u64>) {
    let appraisal = Appraiser::default().appraise(&Presented {
        evidence,
        earlier: &|id| earlier.iter().find(|e| e.id() == *id).map(|e| (*e).clone()),
        collateral: None,
        nonce: None,
    });
    let about = |c| c == Check::KeyBinding || c == Check::RuntimeLog;
    let wrong = appraisal.findings.into_iter();
    let wrong = wrong.filter(|f| about(f.check) && f.tier == Tier::Contraindicated);
    (wrong.map(|f| f.text).collect(), appraisal.facts.events)
}

fn bodies(evidence: &Evidence) -> Vec<(u64, EventBody)> {
    let events = evidence.events.as_ref().unwrap().entries.iter();
    let decoded = events.filter_map(|e| match e {
        Entry::Event(bytes) => Some(Event::decode(bytes).unwrap()),
        _ => None,
    });
    decoded.map(|e| (e.seq, e.body)).collect()
}

#[test]
fn evidence_goes_on_from_the_one_before_and_its_log_without_a_gap() {
    let bench = Bench::new();
    let (attester, first) = bench.begin(1);
    let binding = sound(&first);
    assert_eq!((binding.purpose, binding.seq), (Purpose::Instance, 0));
    assert_eq!((binding.previous, bodies(&first).len()), (None, 1));
    attester
        .sealed(&[Sha256([1; 32]), Sha256([2; 32])])
        .unwrap();
    attester.sealed(&[]).unwrap();
    attester.sealed(&[Sha256([3; 32])]).unwrap();
    let anchor = attester.anchor().unwrap();
    let binding = sound(&anchor);
    assert_eq!((binding.purpose, binding.seq), (Purpose::Anchor, 1));
    assert_eq!(binding.previous, Some(first.id()));
    let (from, before) = (anchor.events.as_ref().unwrap(), first.bound().unwrap());
    let before = before.events.unwrap();
    assert_eq!((from.from, from.base), (before.count, before.rtmr3));
    let mut tree = SetTree::new();
    tree.push_encoded(&[1; 32]);
    tree.push_encoded(&[2; 32]);
    let seal = EventBody::Seal {
        total: 2,
        batch: tree.head(),
        log: None,
    };
    let said = bodies(&anchor);
    assert_eq!(said[0], (1, seal));
    assert!(matches!(said[1], (2, EventBody::Seal { total: 3, .. })));
    let event = EventBody::Anchor {
        seq: 1,
        previous: first.id(),
    };
    assert_eq!(said[2..], [(3, event)]);
    // One for a manifest goes on as an anchor does, and none goes on from it.
    let manifest = attester.for_manifest(Sha256([9; 32])).unwrap();
    let binding = sound(&manifest);
    assert_eq!((binding.purpose, binding.seq), (Purpose::Manifest, 2));
    assert_eq!(binding.previous, Some(anchor.id()));
    assert_eq!(binding.claim, Some(Sha256([9; 32])));
    let second = attester.anchor().unwrap();
    assert_eq!(sound(&second).previous, Some(anchor.id()));
    assert_eq!(second.bound().unwrap().seq, 3);
    let all = [&first, &anchor, &manifest];
    for (evidence, events) in [(&first, 1), (&anchor, 4), (&manifest, 4), (&second, 5)] {
        assert_eq!(appraised(evidence, &all), (vec![], Some(events)));
    }
    assert_eq!(appraised(&second, &[&first]).0.len(), 1);
    attester.end().unwrap();
    attester.end().unwrap();
    assert!(matches!(attester.anchor(), Err(AttestError::Ended)));
    assert!(matches!(
        attester.sealed(&[Sha256([1; 32])]),
        Err(AttestError::Ended)
    ));
    assert!(matches!(attester.answer(b"n"), Err(AttestError::Ended)));
    let log = bench.events().since(0).unwrap();
    let last = Event::decode(match log.entries.last() {
        Some(Entry::Event(bytes)) => bytes,
        other => panic!("{other:?}"),
    });
    assert_eq!(last.unwrap().body, EventBody::End { total: 3 });
}

#[test]
fn an_answer_stands_alone_and_carries_its_nonce() {
    let bench = Bench::new();
    let (attester, _) = bench.begin(1);
    attester.sealed(&[Sha256([1; 32])]).unwrap();
    let answer = attester.answer(b"nonce").unwrap();
    let binding = sound(&answer);
    assert_eq!(binding.beacon, Some(Beacon::Nonce(b"nonce".to_vec())));
    assert_eq!((binding.purpose, binding.previous), (Purpose::Answer, None));
    assert_eq!(appraised(&answer, &[]), (vec![], Some(2)));
    let log = answer.events.as_ref().unwrap();
    assert_eq!((log.from, bodies(&answer).len()), (0, 2));
    for nonce in [&[][..], &[0; 65]] {
        assert!(matches!(attester.answer(nonce), Err(AttestError::Nonce(_))));
    }
}

#[test]
fn what_another_mount_sealed_is_carried_by_digest_only() {
    let bench = Bench::new();
    let (one, _) = bench.begin(1);
    let (two, first) = bench.begin(9);
    sound(&first);
    one.sealed(&[Sha256([1; 32])]).unwrap();
    let anchor = two.anchor().unwrap();
    sound(&anchor);
    let entries = &anchor.events.as_ref().unwrap().entries;
    assert!(matches!(entries[..], [Entry::Digest(_), Entry::Event(_)]));
    assert_eq!(appraised(&anchor, &[&first]), (vec![], Some(4)));
}

#[test]
fn a_foreign_extension_during_a_quote_is_recorded_and_the_quote_made_anew() {
    let bench = Bench::new();
    bench.fault().foreign = 2;
    let (attester, first) = bench.begin(1);
    sound(&first);
    assert_eq!(first.events.as_ref().unwrap().foreign(), 2);
    assert_eq!(bench.quotes(), 3);
    bench.fault().foreign = 3;
    assert!(matches!(attester.anchor(), Err(AttestError::Foreign)));
    bench.fault().foreign = 0;
    let anchor = attester.anchor().unwrap();
    assert_eq!(sound(&anchor).previous, Some(first.id()));
    assert_eq!(anchor.events.as_ref().unwrap().foreign(), 3);
    bench.fault().stale = true;
    sound(&attester.anchor().unwrap());
}

#[test]
fn a_quote_that_is_not_the_one_asked_for_is_not_published() {
    let bench = Bench::new();
    let (attester, first) = bench.begin(1);
    let fails = || {
        let e = attester.anchor().unwrap_err();
        assert!(!e.to_string().contains('\n'), "{e}");
        e
    };
    bench.fault().other_data = true;
    assert!(matches!(fails(), AttestError::Refused(_)));
    for at in [0, 4, 60, 48 + 136, 48 + 519] {
        bench.fault().flipped = Some(at);
        assert!(matches!(fails(), AttestError::Refused(_)), "byte {at}");
    }
    bench.fault().no_quote = true;
    assert!(matches!(fails(), AttestError::Quote(_)));
    let anchor = attester.anchor().unwrap();
    let binding = sound(&anchor);
    assert_eq!(binding.previous, Some(first.id()));
    assert_eq!(binding.seq, 8, "a number was given twice");
    let numbers: Vec<u64> = bodies(&anchor).iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    assert!(usable(&anchor.quote, &binding.report_data()).is_ok());
    assert!(usable(&anchor.quote[..700], &binding.report_data()).is_err());
    let whole = anchor.quote.len();
    assert!(usable(&anchor.quote[..whole - 1], &binding.report_data()).is_err());
}

#[test]
fn an_event_whose_writing_failed_halfway_is_counted_exactly_if_it_is_there() {
    let bench = Bench::new();
    let (attester, _) = bench.begin(1);
    let batch = [Sha256([1; 32]), Sha256([2; 32])];
    bench.fault().not_extended = true;
    assert!(attester.sealed(&batch).is_err());
    attester.sealed(&batch).unwrap();
    // It is there, and the daemon was told that it failed: as a full disk at the end would have it.
    let event = Event {
        instance: InstanceId([1; 16]),
        seq: 2,
        body: EventBody::Seal {
            total: 3,
            batch: {
                let mut tree = SetTree::new();
                tree.push_encoded(&[7; 32]);
                tree.head()
            },
            log: None,
        },
    };
    bench.events().append(&event).unwrap();
    attester.sealed(&[Sha256([7; 32])]).unwrap();
    attester.sealed(&[Sha256([8; 32])]).unwrap();
    let said = bodies(&attester.anchor().unwrap());
    let totals: Vec<_> = said
        .iter()
        .filter_map(|(n, b)| match b {
            EventBody::Seal { total, .. } => Some((*n, *total)),
            _ => None,
        })
        .collect();
    assert_eq!(totals, [(1, 2), (2, 3), (3, 4)]);
}

#[test]
fn a_start_that_failed_can_be_tried_again_and_stands_in_the_log_once() {
    let bench = Bench::new();
    bench.fault().no_quote = true;
    assert!(matches!(
        Attester::begin(bench.setup(1)),
        Err(AttestError::Quote(_))
    ));
    let (_, first) = bench.begin(1);
    assert_eq!(bodies(&first).len(), 1);
    let mut other = bench.setup(1);
    other.config = Sha256([8; 32]);
    assert!(matches!(Attester::begin(other), Err(AttestError::Taken)));
    let mut twice = bench.setup(2);
    twice.keys[1].spki = twice.keys[0].spki;
    assert!(matches!(
        Attester::begin(twice),
        Err(AttestError::Binding(_))
    ));
    let mut none = bench.setup(2);
    none.keys[1].purpose = KeyUse::Seal;
    assert!(Attester::begin(none).is_err());
}

#[test]
fn a_log_that_was_lost_under_a_daemon_is_not_gone_on_with() {
    let bench = Bench::new();
    let (attester, _) = bench.begin(1);
    std::fs::remove_dir_all(bench.dir.path().join("tdx")).unwrap();
    assert!(matches!(attester.anchor(), Err(AttestError::Lost)));
    assert!(matches!(attester.answer(b"n"), Err(AttestError::Lost)));
    // As many entries as before, but others.
    bench.begin(2);
    assert!(matches!(
        attester.sealed(&[Sha256([1; 32])]),
        Err(AttestError::Lost)
    ));
    assert!(matches!(
        attester.for_manifest(Sha256([1; 32])),
        Err(AttestError::Lost)
    ));
}

#[test]
fn without_the_register_there_is_evidence_without_an_event_log() {
    let dir = tempfile::tempdir().unwrap();
    let td: Arc<dyn Machine> = Arc::new(OldKernel(FakeTd::new(dir.path())));
    let (attester, first) = Attester::begin(setup(Arc::clone(&td), None, 1)).unwrap();
    assert_eq!(attester.hardware(), Hardware::Tdx);
    assert_eq!(sound(&first).events, None);
    attester.sealed(&[Sha256([1; 32])]).unwrap();
    let anchor = attester.anchor().unwrap();
    assert_eq!(sound(&anchor).previous, Some(first.id()));
    attester.end().unwrap();
    assert!(matches!(attester.anchor(), Err(AttestError::Ended)));
}

#[test]
fn a_machine_that_somebody_named_is_called_simulated() {
    let bench = Bench::new();
    assert_eq!(bench.begin(1).0.hardware(), Hardware::Simulated);
}

#[test]
fn gpu_evidence_is_bound_where_evidence_stands_alone() {
    let bench = Bench::new();
    let mut setup = bench.setup(1);
    let path = bench.dir.path().join("gpu");
    std::fs::write(&path, b"gpu").unwrap();
    setup.gpu = Some(GpuSource::File(path.clone()));
    let (attester, first) = Attester::begin(setup).unwrap();
    std::fs::remove_file(&path).unwrap();
    for (evidence, there) in [
        (first, true),
        (attester.anchor().unwrap(), false),
        (attester.answer(b"n").unwrap(), true),
    ] {
        let bound = sound(&evidence).gpu;
        assert_eq!(bound, there.then(|| Sha256::of(b"gpu")));
        assert_eq!(evidence.gpu.is_some(), there);
    }
    let mut setup = bench.setup(2);
    setup.gpu = Some(GpuSource::File(path));
    assert!(matches!(Attester::begin(setup), Err(AttestError::Gpu(_))));
    let log = bench.events().since(0).unwrap();
    assert_eq!(log.entries.len(), 2, "an instance began without evidence");
}

#[test]
fn a_firmware_log_that_no_verifier_could_read_is_left_out() {
    for (ccel, attached) in [(firmware(), true), (b"nonsense".to_vec(), false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut td = FakeTd::new(dir.path());
        td.ccel = Some(ccel.clone());
        let setup = setup(Arc::new(td), None, 1);
        let (attester, first) = Attester::begin(setup).unwrap();
        assert_eq!(first.ccel, attached.then_some(ccel));
        assert_eq!(attester.anchor().unwrap().ccel, None);
    }
}

/// A header that names SHA-384, and no event.
fn firmware() -> Vec<u8> {
    let mut body = b"Spec ID Event03\0".to_vec();
    body.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    body.extend([1, 0, 0, 0, 0x0c, 0, 48, 0, 0]);
    let mut log = vec![1, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend((body.len() as u32).to_le_bytes());
    log.extend(body);
    log
}

#[test]
fn missing_collateral_is_said_and_does_not_hold_evidence_up() {
    let bench = Bench::new();
    let mut setup = bench.setup(1);
    setup.collateral = Some(Path::new("/nonexistent").to_owned());
    let (attester, first) = Attester::begin(setup).unwrap();
    assert_eq!(first.collateral, None);
    assert!(attester.missing().unwrap().contains("FMSPC"));
    assert!(attester.collateral(&Sha256([1; 32])).is_none());
}

/// Anchors, seals and answers at once, of two daemons: each evidence is sound, and the log explains the register at the end.
#[test]
fn everything_at_once_leaves_sound_evidence() {
    let bench = Bench::new();
    let daemons = [1, 9].map(|n| bench.begin(n).0);
    std::thread::scope(|scope| {
        for attester in &daemons {
            scope.spawn(|| {
                for n in 0..20 {
                    attester.sealed(&[Sha256([n; 32])]).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..5 {
                    sound(&attester.anchor().unwrap());
                    sound(&attester.answer(b"nonce").unwrap());
                }
            });
        }
    });
    for attester in &daemons {
        let last = attester.answer(b"end").unwrap();
        sound(&last);
        let numbers: Vec<u64> = bodies(&last).iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, (0..26).collect::<Vec<_>>());
        assert_eq!(last.events.as_ref().unwrap().foreign(), 0);
    }
    assert_ne!(bench.td.now(), Rtmr::ZERO);
}
