//! What the ledger must never get wrong, one story each.

use atlas_manifests::digest::Digests;
use atlas_manifests::vocabulary::{Closed, Kind, State};

use super::Undigested;
use super::testing::{Bench, CREATE, READ, REWRITE, UPDATE, manifest_of, who};
use crate::vfs::observer::Access;

#[test]
fn an_output_has_the_inputs_that_came_before_its_end_and_no_later_ones() {
    let mut b = Bench::new();
    b.given(1, b"data");
    b.given(2, b"later");
    let p = who(1, 0);
    b.read_file(1, p);
    b.write_file(3, b"out", p);
    b.read_file(2, p);
    b.settle();
    assert_eq!(b.state(3), Some(State::Sealed));
    assert_eq!(b.inputs(3), [Digests::of(b"data")]);
}

#[test]
fn a_run_does_not_get_the_inputs_of_another() {
    let mut b = Bench::new();
    b.given(1, b"mine");
    b.given(2, b"yours");
    b.read_file(1, who(1, 0));
    b.read_file(2, who(2, 0));
    b.write_file(3, b"out", who(1, 0));
    b.settle();
    assert_eq!(b.inputs(3), [Digests::of(b"mine")]);
}

#[test]
fn a_shell_redirect_that_flushes_the_empty_file_ends_nothing() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.flush(h, 1, p, Closed::Explicit);
    assert_eq!(b.state(1), Some(State::Open));
    b.store(1, b"hello");
    b.close(h, 1, p);
    b.settle();
    assert_eq!(b.row(1).unwrap().digests, Some(Digests::of(b"hello")));
    assert_eq!(b.sealed.len(), 1);
}

#[test]
fn a_writer_that_reads_its_own_unfinished_file_back_is_not_its_own_input() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.store(1, b"half");
    let back = b.open(1, READ, p);
    b.release(back, 1);
    b.close(h, 1, p);
    b.settle();
    assert_eq!(b.inputs(1), []);
    let (plan, _) = &b.sealed[0];
    assert!(plan.inputs.is_empty(), "{:?}", plan.inputs);
}

#[test]
fn checkpoint_one_is_an_input_of_checkpoint_two_and_survives_its_own_deletion() {
    let mut b = Bench::new();
    let p = who(1, 0);
    b.write_file(1, b"ckpt1", p);
    b.settle();
    let first = b.row(1).unwrap();
    b.read_file(1, p);
    b.unlink(1);
    b.write_file(2, b"ckpt2", p);
    b.settle();
    assert_eq!(b.inputs(2), [Digests::of(b"ckpt1")]);
    let (plan, leaves) = b.sealed.last().unwrap();
    assert_eq!(leaves[0].manifest, first.manifest.map(|m| m.sha256));
    assert_eq!(plan.inputs[0].node, first.node);
}

#[test]
fn an_overwrite_names_what_it_replaces() {
    let mut b = Bench::new();
    b.write_file(1, b"old", who(1, 0));
    b.settle();
    let old = b.row(1).unwrap();
    b.write_file(1, b"new", who(2, 0));
    b.settle();
    let (plan, _) = b.sealed.last().unwrap();
    assert_eq!(plan.parent.as_ref().map(|p| p.node), Some(old.node));
    assert_ne!(b.row(1).unwrap().node, old.node);
    assert!(
        b.rows[&old.node.to_string()].gone,
        "nothing holds the old bytes any more"
    );
}

#[test]
fn a_version_written_again_before_its_digest_is_superseded_and_keeps_its_record() {
    let mut b = Bench::new();
    let p = who(1, 0);
    b.write_file(1, b"lost", p);
    let lost = b.row(1).unwrap().node;
    b.write_file(1, b"kept", p);
    b.settle();
    let row = &b.rows[&lost.to_string()];
    assert_eq!((row.state, row.digests), (State::Superseded, None));
    assert_eq!(b.row(1).unwrap().digests, Some(Digests::of(b"kept")));
}

#[test]
fn an_open_for_writing_that_writes_nothing_is_no_version_and_delays_no_digest_for_ever() {
    let mut b = Bench::new();
    b.given(1, b"db");
    let p = who(1, 0);
    let h = b.open(1, UPDATE, p);
    b.close(h, 1, p);
    b.write_file(2, b"report", p);
    b.settle();
    assert_eq!(b.state(1), Some(State::Unattested));
    assert_eq!(
        b.inputs(2),
        [Digests::of(b"db")],
        "it was open for reading too"
    );
}

#[test]
fn two_handles_on_one_file_end_it_once() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let (one, two) = (b.open(1, CREATE, p), b.open(1, REWRITE, p));
    b.store(1, b"table");
    b.close(one, 1, p);
    assert_eq!(b.state(1), Some(State::Open), "the other handle is open");
    b.close(two, 1, p);
    b.settle();
    assert_eq!(b.sealed.len(), 1);
}

#[test]
fn a_forked_heir_does_not_keep_a_checkpoint_from_being_sealed() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.store(1, b"ckpt");
    b.flush(h, 1, p, Closed::Explicit);
    assert_eq!(b.state(1), Some(State::Held));
    let ticket = b.holds.pop().unwrap();
    b.ledger.still_held(ticket);
    b.collect();
    b.settle();
    assert_eq!(b.state(1), Some(State::Sealed));
    b.release(h, 1);
    b.settle();
    assert_eq!(
        b.sealed.len(),
        1,
        "nothing was written after the opener closed"
    );
}

#[test]
fn what_an_heir_writes_after_the_seal_is_a_new_version_on_top() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.store(1, b"first");
    b.flush(h, 1, p, Closed::Explicit);
    let ticket = b.holds.pop().unwrap();
    b.ledger.still_held(ticket);
    b.collect();
    b.settle();
    let first = b.row(1).unwrap().node;
    b.store(1, b"second");
    b.release(h, 1);
    b.settle();
    assert_eq!(b.row(1).unwrap().digests, Some(Digests::of(b"second")));
    let (plan, _) = b.sealed.last().unwrap();
    assert_eq!(plan.parent.as_ref().map(|i| i.node), Some(first));
}

#[test]
fn two_runs_that_read_each_others_unfinished_files_do_not_wait_for_each_other_for_ever() {
    let mut b = Bench::new();
    let (p, q) = (who(1, 0), who(2, 0));
    let (one, two) = (b.open(1, CREATE, p), b.open(2, CREATE, q));
    b.store(1, b"a");
    b.store(2, b"b");
    b.read_file(2, p);
    b.read_file(1, q);
    b.close(one, 1, p);
    b.close(two, 2, q);
    b.settle();
    assert_eq!(
        (b.state(1), b.state(2)),
        (Some(State::Sealed), Some(State::Sealed))
    );
    // The first to end names the other unfinished; the second has the first as what it became.
    assert_eq!(b.inputs(1), []);
    assert_eq!(b.inputs(2), [Digests::of(b"a")]);
}

#[test]
fn a_version_waits_for_its_inputs_and_for_nobody_else() {
    let mut b = Bench::new();
    b.given(1, b"slow");
    b.read_file(1, who(1, 0));
    b.write_file(2, b"waits", who(1, 0));
    b.write_file(3, b"free", who(2, 0));
    // The input's digest was queued first: leave it, digest the others.
    while b.digests.len() > 1 {
        b.digest_one(1);
    }
    assert_eq!(b.state(2), Some(State::Waiting));
    assert_eq!(b.plans.len(), 1);
    b.seal_one();
    assert_eq!(b.state(3), Some(State::Sealed));
    b.settle();
    assert_eq!(b.state(2), Some(State::Sealed));
}

#[test]
fn an_input_sealed_by_us_is_named_by_its_manifest() {
    let mut b = Bench::new();
    b.write_file(1, b"a", who(1, 0));
    b.read_file(1, who(2, 0));
    b.write_file(2, b"b", who(2, 0));
    b.settle();
    let (plan, leaves) = b.sealed.last().unwrap();
    let first = b.sealed[0].0.version;
    assert_eq!(leaves[0].manifest, Some(manifest_of(first)));
    assert!(
        plan.version.n > first.n,
        "edges go from a higher to a lower number"
    );
}

#[test]
fn a_read_handle_that_outlives_a_version_of_its_file_has_used_that_version_too() {
    let mut b = Bench::new();
    b.given(1, b"old");
    let (p, q) = (who(1, 0), who(2, 0));
    let tail = b.open(1, READ, p);
    b.settle();
    b.write_file(1, b"new", q);
    b.settle();
    b.write_file(2, b"out", p);
    b.release(tail, 1);
    b.settle();
    assert_eq!(b.inputs(2), [Digests::of(b"old"), Digests::of(b"new")]);
}

#[test]
fn copied_bytes_are_named_with_the_grade_of_a_copy() {
    let mut b = Bench::new();
    b.given(1, b"src");
    let p = who(1, 0);
    let from = b.open(1, READ, p);
    let to = b.open(2, CREATE, p);
    b.store(2, b"src");
    b.ledger.copied(from, to, None);
    b.close(from, 1, p);
    b.close(to, 2, p);
    b.settle();
    let (plan, _) = b.sealed.last().unwrap();
    assert_eq!(
        plan.inputs[0].grade,
        atlas_manifests::vocabulary::Grade::Copied
    );
    assert_eq!(plan.row.copied.len(), 1);
}

#[test]
fn a_file_unlinked_while_open_is_not_signed() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.store(1, b"secret");
    b.unlink(1);
    b.close(h, 1, p);
    b.settle();
    assert!(b.sealed.is_empty());
}

#[test]
fn changed_metadata_over_equal_bytes_is_the_same_version() {
    let mut b = Bench::new();
    let p = who(1, 0);
    b.write_file(1, b"same", p);
    b.settle();
    let node = b.row(1).unwrap().node;
    b.store(1, b"same"); // touch: the times move, the bytes do not
    b.read_file(1, who(2, 0));
    b.settle();
    assert_eq!(b.row(1).unwrap().node, node);
    assert_eq!(b.ledger.counts().behind, 0);
}

#[test]
fn an_empty_file_is_an_entry_without_a_manifest_and_nobodys_input() {
    let mut b = Bench::new();
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.close(h, 1, p);
    b.read_file(1, who(2, 0));
    b.write_file(2, b"out", who(2, 0));
    b.settle();
    assert_eq!(b.state(1), Some(State::Empty));
    assert_eq!(b.inputs(2), []);
}

#[test]
fn execve_is_a_use_of_code() {
    let mut b = Bench::new();
    b.given(1, b"#!/bin/sh");
    let p = who(1, 0);
    let h = b.open(1, Access { exec: true, ..READ }, p);
    b.release(h, 1);
    b.write_file(2, b"out", p);
    b.settle();
    // A shell holds its own program open, which is no data of the command that it redirects.
    let (shell, command) = (who(2, 0), who(3, 0));
    let (program, out) = (
        b.open(1, Access { exec: true, ..READ }, shell),
        b.open(3, CREATE, shell),
    );
    b.store(3, b"out");
    b.heir_of_shell_closes(out, 3, command, Closed::Exit);
    b.close(out, 3, shell);
    b.release(program, 1);
    assert!(b.uses.len() == 3 && b.uses.iter().all(|u| u.kind == Kind::Code));
}

#[test]
fn what_a_shell_redirects_is_written_by_the_command_with_what_it_was_given_to_read() {
    let mut b = Bench::new();
    b.given(1, b"given by the shell");
    b.given(2, b"opened by the command");
    let (shell, command) = (who(1, 0), who(2, 0));
    let input = b.open(1, READ, shell);
    let out = b.open(3, CREATE, shell);
    b.read_file(2, command);
    b.store(3, b"out");
    b.heir_of_shell_closes(out, 3, command, Closed::Exit);
    b.release(input, 1);
    b.close(out, 3, shell);
    b.settle();
    let (plan, _) = b.sealed.last().unwrap();
    assert_eq!(
        (plan.run, plan.row.closed),
        (command.run, Some(Closed::Exit))
    );
    assert_eq!(
        b.inputs(3),
        [
            Digests::of(b"opened by the command"),
            Digests::of(b"given by the shell")
        ]
    );
}

#[test]
fn two_commands_of_one_redirect_both_give_their_inputs() {
    let mut b = Bench::new();
    b.given(1, b"first");
    b.given(2, b"second");
    let (shell, one, two) = (who(1, 0), who(2, 0), who(3, 0));
    let out = b.open(3, CREATE, shell);
    for (input, command) in [(1, one), (2, two)] {
        b.read_file(input, command);
        b.store(3, b"more");
        b.heir_of_shell_closes(out, 3, command, Closed::Exit);
    }
    b.close(out, 3, shell);
    b.settle();
    let mut inputs = b.inputs(3);
    inputs.sort_by_key(|d| d.size);
    assert_eq!(inputs, [Digests::of(b"first"), Digests::of(b"second")]);
}

/// Closed by its writer, sealed while a mapping lives, with these bytes.
fn sealed_while_held(
    b: &mut Bench,
    bytes: &[u8],
) -> (super::Ticket, crate::vfs::observer::HandleId) {
    let p = who(1, 0);
    let h = b.open(1, CREATE, p);
    b.store(1, bytes);
    b.flush(h, 1, p, Closed::Explicit);
    let ticket = b.holds.pop().unwrap();
    b.ledger.still_held(ticket);
    b.collect();
    b.digests.clear();
    b.ledger.lingers(ticket);
    b.digest_as_held(ticket, 1);
    b.settle();
    assert_eq!(b.state(1), Some(State::Sealed));
    (ticket, h)
}

#[test]
fn a_store_that_moved_no_time_stamp_after_a_held_seal_does_not_leave_the_old_digest() {
    for released_first in [false, true] {
        let mut b = Bench::new();
        let (ticket, h) = sealed_while_held(&mut b, b"first");
        let first = b.row(1).unwrap().node;
        let now = b.identity(1);
        b.files.insert(1, (now, b"later".to_vec()));
        if released_first {
            b.release(h, 1);
        }
        b.ledger.undigested(ticket, Undigested::Changed(now));
        b.collect();
        if !released_first {
            b.release(h, 1);
        }
        b.settle();
        assert_eq!(b.row(1).unwrap().digests, Some(Digests::of(b"later")));
        let (plan, _) = b.sealed.last().unwrap();
        assert_eq!(plan.parent.as_ref().map(|i| i.node), Some(first));
    }
}

#[test]
fn a_held_seal_whose_watch_was_only_cancelled_gets_no_second_version() {
    let mut b = Bench::new();
    let (ticket, h) = sealed_while_held(&mut b, b"first");
    let first = b.row(1).unwrap().node;
    let now = b.identity(1);
    b.ledger.undigested(ticket, Undigested::Changed(now));
    b.collect();
    b.settle();
    b.release(h, 1);
    b.settle();
    assert_eq!(b.row(1).unwrap().node, first);
    assert_eq!(b.sealed.len(), 1);
}

#[test]
fn a_file_emptied_by_an_open_for_reading_keeps_no_old_version() {
    let mut b = Bench::new();
    let p = who(1, 0);
    b.write_file(1, b"bytes", p);
    let empties = Access {
        truncate: true,
        ..READ
    };
    let h = b.open(1, empties, p);
    b.release(h, 1);
    b.settle();
    assert_eq!(b.state(1), Some(State::Empty));
}

#[test]
fn an_excluded_file_that_is_deleted_is_not_digested_to_the_end() {
    let mut b = Bench::new();
    b.exclude(1);
    b.write_file(1, b"lock", who(1, 0));
    assert_eq!(b.state(1), Some(State::Excluded));
    assert!(b.unlink(1), "its digest is called off");
    b.exclude(2);
    b.write_file(2, b"cache", who(1, 0));
    b.read_file(2, who(2, 0));
    assert!(!b.unlink(2), "somebody used it");
    b.write_file(3, b"model", who(1, 0));
    assert!(!b.unlink(3), "it is to be sealed");
}

#[test]
fn a_version_that_was_renamed_while_it_was_digested_is_found_after_a_crash() {
    let mut b = Bench::new();
    b.write_file(1, b"checkpoint", who(1, 0));
    // rename(2) moves the change time, and the digest ends before anybody tells of the rename.
    b.files.get_mut(&1).unwrap().0.ctime += 1;
    b.digest_one(0);
    assert_eq!(b.found_by, Some(b.identity(1)));
    // The other way round: the rename is told, and then the digest of what was there before it.
    b.write_file(2, b"checkpoint 2", who(1, 0));
    let before = b.identity(2);
    b.rename(2);
    let now = b.identity(2);
    b.files.get_mut(&2).unwrap().0 = before;
    b.digest_one(0);
    assert_eq!(b.row(2).unwrap().identity, Some(now));
    assert_eq!(b.found_by, Some(now));
}
