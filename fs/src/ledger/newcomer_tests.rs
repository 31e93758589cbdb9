//! Who opens a file for writing after a version of it has ended, and before that version has its digest.

use atlas_manifests::digest::Digests;
use atlas_manifests::id::NodeRef;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::vocabulary::{Closed, Quiet, State};

use super::testing::{APPEND, Bench, CREATE, UPDATE, key, who};
use super::{Ticket, Undigested};

fn told(b: &Bench, node: NodeRef) -> VersionRow {
    b.rows[&node.to_string()].clone()
}

/// The first version has ended, its digest was called off by who opened the file next, and the new attempt finds the lease refused.
fn held_for_a_newcomer(b: &mut Bench) -> (Ticket, NodeRef) {
    b.write_file(1, b"first", who(1, 0));
    let first = b.row(1).unwrap().node;
    let (ticket, ..) = b.digests.remove(0);
    b.open(1, UPDATE, who(2, 0));
    let now = b.identity(1);
    b.ledger.undigested(ticket, Undigested::Changed(now));
    b.collect();
    let (ticket, ..) = b.digests.remove(0);
    b.ledger.lingers(ticket);
    (ticket, first)
}

#[test]
fn what_a_newcomer_has_half_written_is_not_what_the_last_version_was() {
    let mut b = Bench::new();
    let (ticket, first) = held_for_a_newcomer(&mut b);
    b.store(1, b"half of the second");
    b.digest_as_held(ticket, 1);
    b.settle();
    assert!(b.sealed.is_empty(), "{:?}", b.sealed);
    let row = told(&b, first);
    assert_eq!((row.state, row.gone), (State::Superseded, true));
    assert_eq!(b.ledger.counts().behind, 0);
}

#[test]
fn a_version_whose_bytes_a_newcomer_took_away_is_pending_no_more_while_he_writes_on() {
    let mut b = Bench::new();
    let (ticket, first) = held_for_a_newcomer(&mut b);
    b.store(1, b"half of the second");
    let now = b.identity(1);
    b.ledger.undigested(ticket, Undigested::Changed(now));
    b.collect();
    assert_eq!(told(&b, first).state, State::Superseded);
    assert_eq!(b.ledger.counts().pending, 0);
}

#[test]
fn a_newcomer_who_writes_nothing_lets_the_version_be_sealed_as_held() {
    let mut b = Bench::new();
    let (ticket, first) = held_for_a_newcomer(&mut b);
    b.digest_as_held(ticket, 1);
    b.settle();
    let row = told(&b, first);
    assert_eq!((row.state, row.quiet), (State::Sealed, Some(Quiet::Held)));
    assert_eq!(row.digests, Some(Digests::of(b"first")));
}

/// utimensat(2) sets the time of the last write to what it was; nobody can set the change time.
#[test]
fn who_sets_the_time_back_after_writing_does_not_pass_for_what_was_there_before() {
    for (closes, renames) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut b = Bench::new();
        let (ticket, first) = held_for_a_newcomer(&mut b);
        let then = b.identity(1);
        b.store(1, b"EVIL!");
        for _ in 0..2 {
            let before = b.identity(1);
            b.shift(1);
            b.files.get_mut(&1).unwrap().0.mtime = then.mtime;
            let now = b.identity(1);
            b.ledger.restated(key(1), &before, (now, now));
            b.collect();
        }
        if renames {
            b.rename(1);
        }
        if closes {
            let handle = b.last_opened();
            b.close(handle, 1, who(2, 0));
        }
        b.digest_as_held(ticket, 1);
        b.settle();
        let row = told(&b, first);
        assert_eq!(row.state, State::Superseded, "{closes} {renames}");
        let forged = |(plan, _): &(super::Plan, _)| plan.run == who(1, 0).run;
        assert!(!b.sealed.iter().any(forged), "{:?}", b.sealed);
    }
}

/// A mapping outlives the close, and stores; then somebody else opens the file, and writes.
#[test]
fn what_a_mapping_stored_before_a_newcomer_came_is_part_of_the_version_and_what_came_after_is_not()
{
    for late in [false, true] {
        let mut b = Bench::new();
        let p = who(1, 0);
        let h = b.open(1, CREATE, p);
        b.store(1, b"as it was closed");
        b.flush(h, 1, p, Closed::Explicit);
        let ticket = b.holds.pop().unwrap();
        b.ledger.still_held(ticket);
        b.collect();
        b.digests.clear();
        b.release(h, 1);
        let (ticket, ..) = b.digests.remove(0);
        b.ledger.lingers(ticket);
        b.store(1, b"as the mapping left");
        let first = b.row(1).unwrap().node;
        b.open(1, APPEND, who(2, 0));
        if late {
            b.store(1, b"as the mapping left, and more");
        }
        b.digest_as_held(ticket, 1);
        b.settle();
        let row = told(&b, first);
        if late {
            assert_eq!(row.state, State::Superseded);
        } else {
            assert_eq!(row.digests, Some(Digests::of(b"as the mapping left")));
        }
    }
}

/// Emptied behind the mount, and then written through it: whose bytes were sealed there, and are no more, does not stay at the name.
#[test]
fn what_was_gone_before_a_writer_came_does_not_stay_at_the_name() {
    let mut b = Bench::new();
    b.write_file(1, b"first", who(1, 0));
    b.settle();
    let first = b.row(1).unwrap().node;
    b.store(1, b"");
    let h = b.open(1, UPDATE, who(2, 0));
    assert!(!told(&b, first).gone, "it is still what was sealed here");
    b.store(1, b"second");
    b.close(h, 1, who(2, 0));
    b.settle();
    assert!(told(&b, first).gone);
    assert_eq!(b.row(1).unwrap().digests, Some(Digests::of(b"second")));
    assert_eq!(b.inconsistencies(), Vec::<String>::new());
}

/// Perhaps touched, perhaps written with as many bytes: nobody knows before the digest, and a newcomer takes the bytes away before that.
#[test]
fn what_may_have_been_only_touched_and_was_then_written_over_leaves_no_old_version_at_the_name() {
    let mut b = Bench::new();
    b.write_file(1, b"first", who(1, 0));
    b.settle();
    let first = b.row(1).unwrap().node;
    let h = b.open(1, UPDATE, who(2, 0));
    b.store(1, b"other");
    b.close(h, 1, who(2, 0));
    b.digests.clear();
    let h = b.open(1, UPDATE, who(3, 0));
    b.store(1, b"");
    b.close(h, 1, who(3, 0));
    b.settle();
    let row = told(&b, first);
    assert_eq!((row.state, row.gone), (State::Sealed, true));
    assert_eq!(b.inconsistencies(), Vec::<String>::new());
}
