//! Attacks on the event log and RTMR3 (rows 13, 14 and 17 of the trust facts).

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::appraise::Check;
use atlas_manifests::evidence::{Binding, Entry, Event, EventBody, Evidence, Purpose, Rtmr};
use atlas_manifests::id::InstanceId;
use atlas_manifests::statement::SetHead;
use atlas_manifests::vocabulary::Tier;

use super::lab::{INSTANCE, Lab, good, refused, start};

/// Spoils one thing.
type Change = fn(&mut Vec<Entry>);

fn seal(seq: u64) -> Entry {
    let body = EventBody::Seal {
        total: seq,
        batch: SetHead {
            size: 1,
            root: Sha256([seq as u8; 32]),
        },
        log: None,
    };
    event(seq, body)
}

fn event(seq: u64, body: EventBody) -> Entry {
    let instance = INSTANCE;
    Entry::Event(
        Event {
            instance,
            seq,
            body,
        }
        .encode(),
    )
}

/// With another daemon's events between its own.
fn busy() -> Lab {
    let mut lab = Lab::new();
    let other = Event {
        instance: InstanceId([9; 16]),
        ..start(&lab.binding)
    };
    lab.entries.push(seal(1));
    lab.entries.push(Entry::Digest(other.digest()));
    lab.entries.push(seal(2));
    lab.entries.push(seal(3));
    lab
}

#[test]
fn an_event_log_of_several_daemons_is_good() {
    let a = busy().verdict();
    good(&a);
    assert_eq!(a.facts.events, Some(5));
}

#[test]
fn row_17_a_log_that_is_reordered_dropped_doubled_or_added_to_does_not_replay() {
    let spoil: [Change; 6] = [
        |e| e.swap(1, 3),
        |e| drop(e.remove(3)),
        |e| drop(e.pop()),
        |e| e.insert(2, e[1].clone()),
        |e| e.push(seal(4)),
        |e| e[2] = seal(9),
    ];
    for (at, change) in spoil.into_iter().enumerate() {
        let mut lab = busy();
        let mut evidence = lab.evidence();
        change(&mut evidence.events.as_mut().unwrap().entries);
        let a = lab.appraise(&evidence);
        refused(&a, Check::RuntimeLog, "not the one that was bound");
        assert!(at < 6);
        // Bound so, it does not fit the register.
        let log = evidence.events.clone().unwrap();
        lab.binding.events = Some(log.head());
        evidence.binding = lab.binding.encode();
        evidence.quote = lab.quote(&lab.binding.report_data());
        refused(
            &lab.appraise(&evidence),
            Check::RuntimeLog,
            "RTMR3 is not what",
        );
    }
}

#[test]
fn row_17_an_instance_that_tells_its_own_story_differently_is_refused() {
    let spoil: [(&str, Change); 6] = [
        ("where number 1 belongs", |e| e[1] = seal(2)),
        ("where number 3 belongs", |e| e[4] = seal(2)),
        ("start is not in", |e| {
            e.retain(|x| matches!(x, Entry::Digest(_)));
        }),
        ("not its start", |e| e[0] = seal(0)),
        ("after its own end", |e| {
            e[1] = event(1, EventBody::End { total: 0 });
        }),
        ("cannot be read", |e| e[1] = Entry::Event(vec![1, 2, 3])),
    ];
    for (words, change) in spoil {
        let mut lab = busy();
        change(&mut lab.entries);
        refused(&lab.verdict(), Check::RuntimeLog, words);
    }
}

#[test]
fn row_13_and_14_an_instance_that_began_with_other_keys_is_refused() {
    let mut lab = busy();
    let mut other = lab.binding.clone();
    other.keys[0].spki.0[0] ^= 1;
    lab.entries[0] = Entry::Event(start(&other).encode());
    refused(&lab.verdict(), Check::RuntimeLog, "other keys");
    let mut lab = busy();
    let other = Binding {
        config: Sha256([8; 32]),
        ..lab.binding.clone()
    };
    lab.entries[0] = Entry::Event(start(&other).encode());
    refused(&lab.verdict(), Check::RuntimeLog, "another configuration");
}

#[test]
fn row_17_what_others_did_to_the_register_is_refused_unless_it_is_allowed() {
    let mut lab = busy();
    lab.entries.insert(2, Entry::Foreign(Rtmr([6; 48])));
    refused(&lab.verdict(), Check::RuntimeLog, "others extended");
    lab.policy.runtime_log.allow_foreign = true;
    assert_eq!(lab.verdict().tier(Check::RuntimeLog), Tier::Warning);
    let mut lab = busy();
    lab.base = Rtmr([6; 48]);
    refused(&lab.verdict(), Check::RuntimeLog, "before the first event");
    lab.policy.runtime_log.base = vec!["06".repeat(48)];
    good(&lab.verdict());
}

#[test]
fn a_log_that_is_bound_and_missing_or_there_and_not_bound_is_refused() {
    let mut lab = busy();
    let mut evidence = lab.evidence();
    evidence.events = None;
    refused(&lab.appraise(&evidence), Check::RuntimeLog, "is missing");
    let mut lab = busy();
    let mut evidence = lab.evidence();
    lab.binding.events = None;
    evidence.binding = lab.binding.encode();
    evidence.quote = lab.quote(&lab.binding.report_data());
    refused(&lab.appraise(&evidence), Check::RuntimeLog, "does not bind");
    evidence.events = None;
    assert_eq!(lab.appraise(&evidence).tier(Check::RuntimeLog), Tier::None);
}

/// An anchor goes on where the evidence before it ended.
fn anchored(lab: &mut Lab) -> (Evidence, Evidence) {
    let first = lab.evidence();
    let before = lab.log();
    lab.entries.push(event(
        4,
        EventBody::Anchor {
            seq: 1,
            previous: first.id(),
        },
    ));
    lab.binding.purpose = Purpose::Anchor;
    lab.binding.seq = 1;
    lab.binding.previous = Some(first.id());
    let mut anchor = lab.evidence();
    let log = anchor.events.as_mut().unwrap();
    (log.from, log.base) = (before.head().count, before.head().rtmr3);
    log.entries.drain(..before.entries.len());
    lab.earlier.insert(first.id(), first.clone());
    (first, anchor)
}

#[test]
fn an_anchor_replays_with_the_evidence_before_it_and_not_without() {
    let mut lab = busy();
    let (first, anchor) = anchored(&mut lab);
    good(&lab.appraise(&first));
    let a = lab.appraise(&anchor);
    good(&a);
    assert_eq!(a.facts.events, Some(6));
    let kept = std::mem::take(&mut lab.earlier);
    refused(&lab.appraise(&anchor), Check::RuntimeLog, "is not here");
    // Another one under its name; one whose log ends elsewhere; one that begins in the middle.
    let name = first.id();
    lab.earlier.insert(name, Lab::new().evidence());
    refused(&lab.appraise(&anchor), Check::RuntimeLog, "another one");
    let mut shorter = kept[&name].clone();
    shorter.events.as_mut().unwrap().entries.pop();
    lab.earlier.insert(name, shorter);
    refused(&lab.appraise(&anchor), Check::RuntimeLog, "does not go on");
    let mut later = kept[&name].clone();
    let log = later.events.as_mut().unwrap();
    (log.from, log.base) = (1, log.entries[0].apply(log.base));
    log.entries.remove(0);
    lab.earlier.insert(name, later);
    refused(
        &lab.appraise(&anchor),
        Check::RuntimeLog,
        "begin at its beginning",
    );
}
