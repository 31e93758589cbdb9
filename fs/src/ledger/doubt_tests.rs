//! What must not change what is known: touches, kills, joins of runs, and records that were damaged.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Digests;
use atlas_manifests::id::NodeRef;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Closed, Cut, Kind, State};

use super::testing::{APPEND, Bench, CREATE, READ, REWRITE, UPDATE, who};
use super::{RawUse, Restored, Undigested};
use crate::caller::Merge;

#[test]
fn a_touch_right_after_the_close_takes_neither_the_digest_nor_the_inputs_away() {
    let mut b = Bench::new();
    b.given(1, b"data");
    b.read_file(1, who(1, 0));
    b.write_file(2, b"model", who(1, 0));
    let written = b.row(2).unwrap().node;
    let toucher = who(2, 0);
    let h = b.open(2, APPEND, toucher);
    b.touch(2);
    b.close(h, 2, toucher);
    b.touch(2);
    b.settle();
    assert_eq!(b.row(2).unwrap().node, written);
    assert_eq!(b.state(2), Some(State::Sealed));
    assert_eq!(b.inputs(2), [Digests::of(b"data")]);
}

/// `write tmp; rename tmp out`, and somebody opens `out` before the rename has been told: its change time is another already.
#[test]
fn a_version_that_is_read_before_its_rename_was_told_is_sealed_and_is_what_was_read() {
    for digested in [false, true] {
        let mut b = Bench::new();
        b.write_file(1, b"out", who(1, 0));
        let node = b.row(1).unwrap().node;
        if digested {
            b.digest_one(0);
        }
        if let Some((identity, _)) = b.files.get_mut(&1) {
            identity.ctime += 1000;
        }
        b.read_file(1, who(2, 0));
        b.write_file(2, b"more", who(2, 0));
        while !b.digests.is_empty() {
            b.digest_one(0);
        }
        b.settle();
        let row = b.row(1).unwrap();
        assert_eq!((row.node, row.state), (node, State::Sealed));
        assert_eq!(b.ledger.counts().behind, 0);
        let (_, leaves) = b.sealed.last().unwrap();
        let used: Vec<_> = leaves.iter().map(|l| (l.node, l.state)).collect();
        assert_eq!(used, [(node, State::Sealed)]);
        assert_eq!(b.inconsistencies(), Vec::<String>::new());
    }
}

#[test]
fn who_reads_a_file_that_may_have_changed_is_told_of_what_it_turns_out_to_be() {
    let mut b = Bench::new();
    b.write_file(1, b"same", who(1, 0));
    b.settle();
    let node = b.row(1).unwrap().node;
    let h = b.open(1, APPEND, who(2, 0));
    b.store(1, b"same"); // the same bytes once more
    b.close(h, 1, who(2, 0));
    b.read_file(1, who(3, 0));
    b.write_file(2, b"out", who(3, 0));
    b.settle();
    assert_eq!(b.inconsistencies(), Vec::<String>::new());
    let used: Vec<_> = b.uses.iter().filter(|u| u.run.n == 3).collect();
    assert_eq!((used.len(), used[0].node), (1, node));
}

#[test]
fn a_kill_is_not_undone_by_what_the_next_command_of_the_redirect_does() {
    for shell_killed in [false, true] {
        let mut b = Bench::new();
        let (shell, first, second) = (who(1, 0), who(2, 1), who(3, 2));
        let h = b.open(1, CREATE, shell);
        b.store(1, b"half");
        let (how, end) = if shell_killed {
            (Closed::Explicit, Closed::Killed)
        } else {
            (Closed::Killed, Closed::Explicit)
        };
        b.heir_of_shell_closes(h, 1, first, how);
        b.store(1, b"half and more");
        b.heir_of_shell_closes(h, 1, second, Closed::Explicit);
        b.flush(h, 1, shell, end);
        b.release(h, 1);
        b.settle();
        let row = b.row(1).unwrap();
        assert_eq!(
            (row.closed, row.run),
            (Some(Closed::Killed), Some(second.run))
        );
    }
}

#[test]
fn a_run_that_read_what_an_ended_one_wrote_has_its_uses_and_leaves_it_what_it_was() {
    let mut b = Bench::new();
    b.given(1, b"data.gz");
    let (zcat, train) = (who(1, 0), who(2, 1));
    b.read_file(1, zcat);
    b.ledger.merge(&Merge {
        absorbed: zcat.run,
        into: train.run,
        processes: 0,
        copy: Some(0),
    });
    b.write_file(2, b"model", train);
    b.settle();
    assert_eq!(b.inputs(2), [Digests::of(b"data.gz")]);
    assert_eq!(b.row(2).unwrap().run, Some(train.run));
    assert_eq!(b.ledger.uses_of(zcat.run), 1);
    b.write_file(3, b"later", zcat);
    assert_eq!(b.row(3).unwrap().run, Some(zcat.run), "it is still itself");
}

#[test]
fn a_use_whose_record_was_lost_keeps_its_place_and_moves_no_later_use_before_the_cut() {
    let mut b = Bench::new();
    let run = who(1, 0).run;
    let raw = |order, node| RawUse {
        run,
        order,
        kind: Kind::Opened,
        process: 0,
        tree: 0,
        path: PathBytes::from("x"),
        node: None,
        identity: Some(FileIdentity {
            dev: 1,
            ino: node,
            born: 0,
            size: 1,
            mtime: 1,
            ctime: 1,
        }),
        open: false,
    };
    let keep = |raw| Restored {
        raw,
        known: None,
        file: None,
    };
    // The second was damaged; the last is nonsense that a checksum cannot tell from sense.
    let uses = [raw(0, 1), raw(2, 3), raw(u64::MAX, 4)];
    b.ledger
        .restore_uses(run, uses.into_iter().map(keep).collect());
    b.collect();
    let list = &b.ledger.runs[&run].list;
    let inode = |at: usize| b.ledger.nodes[list[at].node].identity.map(|i| i.ino);
    assert_eq!([inode(0), inode(1), inode(2)], [Some(1), None, Some(3)]);
    assert!(list.len() < 1 << 20, "bounded");
}

#[test]
fn what_is_opened_after_the_last_write_that_was_seen_is_no_input() {
    let mut b = Bench::new();
    b.given(1, b"before");
    b.given(2, b"after");
    let p = who(1, 0);
    let out = b.open(3, CREATE, p);
    b.read_file(1, p);
    b.store(3, b"made of the first");
    b.ledger.wrote(out);
    b.read_file(2, p);
    b.close(out, 3, p);
    b.settle();
    assert_eq!(b.inputs(3), [Digests::of(b"before")]);
    assert_eq!(b.row(3).unwrap().cut, Some(Cut::Write));
}

/// A rename moves ctime. Who then opens a file that somebody else has open for writing, and has not written, opens what was there
/// before; and not what it becomes.
#[test]
fn a_rename_of_an_open_file_makes_nobody_a_reader_of_what_is_written_later() {
    let mut b = Bench::new();
    b.given(1, b"before");
    let writer = b.open(1, UPDATE, who(1, 0));
    b.rename(1);
    b.read_file(1, who(2, 0));
    b.write_file(2, b"out", who(2, 0));
    b.store(1, b"after");
    b.close(writer, 1, who(1, 0));
    b.settle();
    let named: Vec<NodeRef> = b.leaves[&who(2, 0).run].iter().map(|l| l.node).collect();
    let after = b.row(1).map(|r| r.node);
    assert_eq!(named.len(), 1);
    assert_ne!(Some(named[0]), after, "it was opened before");
}

/// The kernel's copies are seen and plain writes are not: what is opened between the two is an input of what is written.
#[test]
fn what_is_opened_after_a_copy_is_an_input_of_what_is_written_after_it() {
    let mut b = Bench::new();
    b.given(1, b"copied");
    b.given(2, b"read later");
    let copied = b.open(1, READ, who(1, 0));
    let out = b.open(3, CREATE, who(1, 0));
    b.ledger.copied(copied, out, None);
    b.read_file(2, who(1, 0));
    b.store(3, b"both");
    b.close(out, 3, who(1, 0));
    b.settle();
    assert_eq!(
        b.inputs(3),
        [Digests::of(b"copied"), Digests::of(b"read later")]
    );
}

/// What was written into a file that has no name any more has no digest; but who reads it has not read what was there before.
#[test]
fn who_reads_on_in_a_removed_file_has_not_read_what_it_held_before() {
    let mut b = Bench::new();
    b.write_file(1, b"before", who(1, 0));
    b.settle();
    let before = b.row(1).unwrap().node;
    let writer = b.open(1, REWRITE, who(1, 0));
    let reader = b.open(1, READ, who(2, 0));
    b.store(1, b"after");
    b.unlink(1);
    b.close(writer, 1, who(1, 0));
    b.ledger.read(reader);
    b.collect();
    b.write_file(2, b"out", who(2, 0));
    b.settle();
    let leaves = &b.leaves[&who(2, 0).run];
    assert!(!leaves.is_empty());
    assert!(leaves.iter().all(|l| l.node != before), "{leaves:?}");
}

/// Plain writes are not seen in passthrough; what is copied out of a file that is being written is not what it held before.
#[test]
fn what_is_copied_out_of_a_file_that_is_being_written_is_not_what_it_held_before() {
    let mut b = Bench::new();
    b.given(1, b"before");
    b.read_file(1, who(3, 0));
    b.settle();
    let writer = b.open(1, UPDATE, who(1, 0));
    b.store(1, b"growing");
    let from = b.open(1, READ, who(2, 0));
    let to = b.open(2, CREATE, who(2, 0));
    let now = b.identity(1);
    b.ledger.copied(from, to, Some(&now));
    b.store(2, b"growing");
    b.close(to, 2, who(2, 0));
    b.close(writer, 1, who(1, 0));
    b.settle();
    let (plan, leaves) = b
        .sealed
        .iter()
        .find(|(p, _)| p.run == who(2, 0).run)
        .unwrap();
    let before = Some(Digests::of(b"before"));
    assert!(plan.inputs.iter().all(|i| i.digests != before), "{plan:?}");
    assert!(leaves.iter().all(|l| l.digests != before), "{leaves:?}");
}

/// A version is digested while somebody else has it open for writing; what he then writes, unseen, is a new version of his and no
/// change behind the mount.
#[test]
fn what_a_later_writer_writes_while_the_digest_goes_on_is_no_change_behind_the_mount() {
    let mut b = Bench::new();
    b.write_file(1, b"first", who(1, 0));
    let (ticket, ..) = b.digests.remove(0);
    let writer = b.open(1, UPDATE, who(2, 0));
    let now = b.identity(1);
    b.ledger.undigested(ticket, Undigested::Changed(now));
    b.collect();
    let (ticket, _, expect) = b.digests.remove(0);
    assert_eq!(
        expect,
        Some(now),
        "it is tried again, though somebody could write"
    );
    b.store(1, b"later");
    b.close(writer, 1, who(2, 0));
    let now = b.identity(1);
    b.ledger.undigested(ticket, Undigested::Changed(now));
    b.collect();
    b.settle();
    assert_eq!(b.ledger.counts().behind, 0);
    assert_eq!(b.state(1), Some(State::Sealed));
    assert_eq!(b.row(1).unwrap().digests, Some(Digests::of(b"later")));
    assert_eq!(b.inconsistencies(), Vec::<String>::new());
}

/// Closed with bytes, and a forked heir cuts them off before the digest: there is nothing to sign, and what comes after can still be sealed.
#[test]
fn a_version_that_its_heir_emptied_is_empty_and_is_not_handed_to_the_sealer() {
    let mut b = Bench::new();
    let h = b.open(1, CREATE, who(1, 0));
    b.store(1, b"some");
    b.flush(h, 1, who(1, 0), Closed::Explicit);
    let hold = b.holds.pop().unwrap();
    b.ledger.still_held(hold);
    b.collect();
    b.store(1, b"");
    b.digest_one(0);
    assert_eq!(b.state(1), Some(State::Empty));
    assert!(b.plans.is_empty());
}

/// utimensat(2) beside the end of a digest: what was digested is the file still, and its times are those that were set.
#[test]
fn times_that_were_set_before_a_digest_was_told_identify_the_file() {
    let mut b = Bench::new();
    b.write_file(1, b"out", who(1, 0));
    b.digest_one_late(0, |b| b.touch(1));
    b.settle();
    let row = b.row(1).unwrap();
    assert_eq!(
        (row.state, row.identity),
        (State::Sealed, Some(b.identity(1)))
    );
}

/// The same of a file that nobody was seen to write: its reader's output would wait for ever.
#[test]
fn a_first_sight_whose_times_are_set_during_its_digest_is_digested() {
    let mut b = Bench::new();
    b.given(1, b"data");
    b.read_file(1, who(1, 0));
    b.digest_one_late(0, |b| b.touch(1));
    assert_eq!(b.state(1), Some(State::Unattested));
    assert_eq!(b.row(1).unwrap().identity, Some(b.identity(1)));
}

#[test]
fn a_version_whose_bytes_were_kept_is_sealed_although_it_was_written_again_before_its_digest() {
    for how in [REWRITE, UPDATE, APPEND] {
        let mut b = Bench::new();
        b.given(1, b"data");
        let p = who(1, 0);
        b.read_file(1, p);
        b.write_file(2, b"first", p);
        let first = b.row(2).unwrap().node;
        assert!(b.keep(2));
        assert!(!b.keep(2), "one content of a file at a time");
        let h = b.open(2, how, p);
        b.store(2, b"again");
        b.close(h, 2, p);
        b.settle();
        let row = &b.rows[&first.to_string()];
        assert_eq!((row.state, row.gone), (State::Sealed, true), "{how:?}");
        assert_eq!(row.digests, Some(Digests::of(b"first")));
        let second = b.row(2).unwrap();
        assert_eq!((second.state, second.parent), (State::Sealed, Some(first)));
        assert_eq!(b.inconsistencies(), Vec::<String>::new());
    }
}

#[test]
fn a_copy_that_cannot_be_read_leaves_a_version_that_says_why() {
    let mut b = Bench::new();
    let p = who(1, 0);
    b.write_file(2, b"first", p);
    let first = b.row(2).unwrap().node;
    b.keep(2);
    b.write_file(2, b"again", p);
    let (ticket, ..) = b.kept.remove(0);
    b.ledger
        .undigested(ticket, Undigested::Failed("disk".to_owned()));
    b.settle();
    assert_eq!(b.rows[&first.to_string()].state, State::Incomplete);
    assert_eq!(b.state(2), Some(State::Sealed));
    assert_eq!(b.inconsistencies(), Vec::<String>::new());
}

#[test]
fn a_version_whose_bytes_were_kept_between_close_and_release_is_sealed() {
    for released_first in [false, true] {
        let mut b = Bench::new();
        let p = who(1, 0);
        let h = b.open(2, CREATE, p);
        b.store(2, b"first");
        b.flush(h, 2, p, Closed::Explicit);
        let first = b.row(2).unwrap().node;
        assert!(b.keep(2));
        if released_first {
            b.release(h, 2);
        }
        let again = b.open(2, UPDATE, p);
        if !released_first {
            b.release(h, 2);
        }
        b.store(2, b"again and more");
        b.close(again, 2, p);
        b.settle();
        let row = &b.rows[&first.to_string()];
        assert_eq!((row.state, row.gone), (State::Sealed, true));
        let second = b.row(2).unwrap();
        assert_eq!((second.state, second.parent), (State::Sealed, Some(first)));
        assert_eq!(b.inconsistencies(), Vec::<String>::new());
    }
}

/// A store without birth times gives the number of a deleted file to a new one: its digest would be waited for without end.
#[test]
fn a_number_that_is_given_out_again_leaves_nothing_on_its_way_and_inherits_nothing() {
    for digested in [false, true] {
        let mut b = Bench::new();
        b.write_file(1, b"old", who(1, 0));
        b.read_file(1, who(2, 0));
        let old = b.row(1).unwrap().node;
        if digested {
            b.digest_one(0);
        }
        b.unlink(1);
        b.files.remove(&1);
        let writer = who(3, 0);
        let h = b.open(1, CREATE, writer);
        b.store(1, b"new");
        b.close(h, 1, writer);
        b.write_file(2, b"made of the old one", who(2, 0));
        b.settle();
        let row = b.row(1).unwrap();
        assert_ne!(row.node, old);
        assert_eq!((row.state, row.parent), (State::Sealed, None));
        assert_eq!(b.inconsistencies(), Vec::<String>::new());
        let gone = &b.rows[&old.to_string()];
        assert!(gone.gone);
        let state = if digested {
            State::Sealed
        } else {
            State::Incomplete
        };
        assert_eq!(gone.state, state);
        assert_eq!(b.state(2), Some(State::Sealed));
    }
}

/// Everything that waits for it would wait for hours, umount among them.
#[test]
fn a_huge_file_that_is_deleted_is_not_digested_to_the_end() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.store(1, b"holes, mostly");
    b.files.get_mut(&1).unwrap().0.size = 16 << 40;
    b.close(h, 1, p);
    b.read_file(1, p);
    b.write_file(2, b"made of it", p);
    b.digest_one(1);
    assert_ne!(b.state(2), Some(State::Sealed), "it waits for its input");
    assert!(b.unlink(1), "its digest is called off");
    b.settle();
    assert_eq!(b.state(1), Some(State::Incomplete));
    assert_eq!(b.state(2), Some(State::Sealed));
    assert_eq!(b.inputs(2), [], "one that has no digest");
}
