//! How nodes come to rest: digests and seals arrive, files go away, and whoever waited for a node is told.

use atlas_manifests::rows::FileIdentity;
use atlas_manifests::statement::ManifestRef;
use atlas_manifests::vocabulary::{Quiet, State};

use super::endings::differs;
use super::node::{Named, Node};
use super::{Digested, Ledger, NodeIx, Phase, Ticket, Undigested};
use crate::vfs::observer::FileKey;

/// So often a digest is tried again because a writer that outlived its close changed the bytes meanwhile.
const MAX_ATTEMPTS: u32 = 64;

impl Ledger {
    /// A digest arrived.
    pub fn digested(&mut self, ticket: Ticket, d: Digested) {
        let ix = ticket.node();
        let Some(node) = self.nodes.get(ix) else {
            return;
        };
        if node.authored.is_none() {
            if node.phase == Phase::Digesting
                && node
                    .identity
                    .is_some_and(|i| i.same_bytes(&d.identity) || told_since(&i, &d.identity))
            {
                self.seen(ix, d);
            }
            return;
        }
        match node.phase {
            // The bytes of who opened the file since are not those that were closed, though nobody told of a write yet.
            Phase::Digesting | Phase::Held
                if self.has_newcomer(ix) && !explained(node.identity, &d.identity) =>
            {
                self.undigested(ticket, Undigested::Changed(d.identity));
            }
            Phase::Digesting | Phase::Held
                if node.identity == Some(d.identity) || node.attempt == ticket.attempt() =>
            {
                self.ended_digested(ix, d);
            }
            // Sealed while an heir held it; now nobody does.
            Phase::Waiting | Phase::Sealing | Phase::Settled(State::Sealed)
                if node.quiet == Some(Quiet::Held) && d.quiet == Quiet::Proven =>
            {
                self.proven_at_last(ix, d);
            }
            _ => {}
        }
    }

    fn ended_digested(&mut self, ix: NodeIx, d: Digested) {
        let node = &self.nodes[ix];
        let authored = node.authored.clone();
        if let Some(a) = &authored
            && a.doubtful
            && let Some(parent) = a.parent.map(|p| self.real(p))
        {
            if self.nodes[parent].digests == Some(d.digests) {
                let now = latest(self.nodes[ix].identity, d.identity);
                self.become_same(ix, parent, now);
                return;
            }
            self.replaced(parent);
        }
        let node = self.at(ix);
        if let Some(a) = &mut node.authored {
            a.doubtful = false;
        }
        node.digests = Some(d.digests);
        node.quiet = Some(d.quiet);
        // A rename under the lease: the next life must not look for what the file was before.
        let now = latest(node.identity, d.identity);
        let moved = node.identity.replace(now) != Some(now);
        node.media_type = Some(d.media_type);
        node.types = d.types;
        node.phase = Phase::Waiting;
        self.name(ix);
        if moved {
            self.journal_place(ix);
        }
        if self.nodes[ix].excluded {
            self.settle(ix, State::Excluded, None);
            return;
        }
        if d.digests.size == 0 {
            // Who could still write it had emptied it by then.
            self.at(ix).digests = None;
            self.settle_empty(ix);
            return;
        }
        self.tell(ix);
        let waits = self.unsettled_inputs(ix);
        self.at(ix).waits = u32::try_from(waits.len()).unwrap_or(u32::MAX);
        for input in &waits {
            self.at(*input).dependents.push(ix);
        }
        if waits.is_empty() {
            self.seal(ix);
        }
    }

    fn proven_at_last(&mut self, ix: NodeIx, d: Digested) {
        self.forgetting.held.remove(&ix);
        if self.nodes[ix].digests == Some(d.digests) {
            let sealed = self.nodes[ix].phase == Phase::Settled(State::Sealed);
            let node = self.at(ix);
            node.quiet = Some(Quiet::Proven);
            node.identity = Some(latest(node.identity, d.identity));
            if sealed {
                self.seal(ix);
            }
            return;
        }
        // Somebody wrote after all: what was sealed stands, and a new version follows it.
        let old = &self.nodes[ix];
        let mut next = Node::new(old.file, old.path.clone(), Phase::Digesting);
        next.excluded = old.excluded;
        next.authored.clone_from(&old.authored);
        let ended = self.ends + 1;
        next.identity = Some(d.identity);
        let file = old.file;
        if let Some(a) = &mut next.authored {
            a.ended = ended;
            a.parent = Some(ix);
            a.copied.clear();
            a.named = Named::default();
        }
        self.at(ix).gone = true;
        self.tell(ix);
        self.ends = ended;
        let next = self.add(next);
        if let Some(f) = self.files.get_mut(&file)
            && f.current == Some(ix)
        {
            f.current = Some(next);
        }
        self.ended_digested(next, d);
    }

    /// Sealed while somebody could still write, and perhaps written since: a store into a mapped page that is dirty already shows
    /// in no time stamp, so the bytes have to be asked once more. Equal ones are the same version.
    fn changed_at_last(&mut self, ix: NodeIx, now: FileIdentity) {
        self.forgetting.held.remove(&ix);
        let old = &self.nodes[ix];
        let (key, same) = (old.file, old.identity == Some(now));
        let Some(file) = self.files.get(&key) else {
            return;
        };
        let holder = file.writing.as_ref().map(|w| w.node);
        // Another version is being made or has been; or the end of the writing that runs now sees the change itself.
        if file.gone || file.current != Some(ix) || holder.is_some_and(|h| h != ix || !same) {
            return;
        }
        let mut next = Node::new(key, old.path.clone(), Phase::Digesting);
        next.excluded = old.excluded;
        next.authored.clone_from(&old.authored);
        next.identity = Some(now);
        if let Some(a) = &mut next.authored {
            a.parent = Some(ix);
            a.copied.clear();
            a.named = Named::default();
            a.doubtful = true;
        }
        let next = self.add(next);
        if let Some(file) = self.files.get_mut(&key) {
            file.current = Some(next);
            if let Some(w) = &mut file.writing {
                w.node = next;
            }
        }
        self.unsettled.insert(next);
        self.name(next);
        self.want_digest(next, true);
    }

    /// What a version waits for: inputs before its cut, its parent, and what was copied into it, as far as they had ended before it.
    fn unsettled_inputs(&self, ix: NodeIx) -> Vec<NodeIx> {
        let Some(a) = &self.nodes[ix].authored else {
            return Vec::new();
        };
        let mut out: Vec<NodeIx> = Vec::new();
        if let Some(uses) = self.runs.get(&a.run) {
            let cut = usize::try_from(a.inputs)
                .unwrap_or(usize::MAX)
                .min(uses.list.len());
            out.extend(
                uses.list[uses.carried.min(cut)..cut]
                    .iter()
                    .map(|u| (u, self.real(u.node)))
                    .filter(|(u, real)| !u.open || u.node != *real)
                    .map(|(_, real)| real),
            );
        }
        out.extend(a.parent.iter().chain(&a.copied).map(|n| self.real(*n)));
        out.sort_unstable();
        out.dedup();
        // Only for what has a lower number: a version that was held, used, and then written on has ended twice,
        // and two of those could wait for each other.
        let own = self.nodes[ix].number();
        out.retain(|n| {
            let node = &self.nodes[*n];
            *n != ix && !node.settled() && node.phase != Phase::Open && node.number() < own
        });
        out
    }

    /// No digest will come from this attempt.
    pub fn undigested(&mut self, ticket: Ticket, why: Undigested) {
        let ix = ticket.node();
        let Some(node) = self.nodes.get(ix) else {
            return;
        };
        if let Undigested::Changed(now) = why
            && node.quiet == Some(Quiet::Held)
            && matches!(
                node.phase,
                Phase::Waiting | Phase::Sealing | Phase::Settled(State::Sealed)
            )
        {
            self.changed_at_last(ix, now);
            return;
        }
        if node.attempt != ticket.attempt() || !matches!(node.phase, Phase::Digesting | Phase::Held)
        {
            return;
        }
        let ended = node.authored.is_some();
        let known = node.identity;
        let writing = self.files.get(&node.file).and_then(|f| f.writing.as_ref());
        let busy = writing.is_some();
        match why {
            // Who only has it open for writing may do so for days: it is digested as held, unless something is written after all.
            Undigested::Changed(now) if ended && self.has_newcomer(ix) => {
                if !explained(known, &now) {
                    self.lose(ix);
                } else if node.attempt < MAX_ATTEMPTS {
                    self.at(ix).identity = Some(latest(known, now));
                    self.want_digest(ix, ended);
                } else {
                    self.at(ix).attempt += 1;
                }
            }
            // Its next close, or the end of the writing that runs now, decides.
            Undigested::Changed(_) if busy => self.at(ix).attempt += 1,
            Undigested::Changed(now)
                if node.attempt < MAX_ATTEMPTS
                    // But for the change time: of a rename nobody was told yet, perhaps, and it leaves the bytes as they are.
                    && (node.identity.is_some_and(|i| i.same_bytes(&now)) || node.lingering) =>
            {
                // It may have been looked up before a name was told to have gone, and is told after that.
                self.at(ix).identity = Some(latest(known, now));
                self.want_digest(ix, ended);
            }
            Undigested::Changed(_) => {
                self.counts.behind += 1;
                self.lose(ix);
            }
            Undigested::Gone => self.deleted(ix),
            Undigested::Failed(text) => {
                self.name(ix);
                self.settle(ix, State::Incomplete, Some(text));
            }
        }
    }

    /// The file went before its digest was done: it will never have one.
    pub(super) fn deleted(&mut self, ix: NodeIx) {
        self.at(ix).gone = true;
        self.name(ix);
        let why = "deleted before it was digested";
        self.settle(ix, State::Incomplete, Some(why.to_owned()));
    }

    /// A version that its writer closed can still be written: what changes now is still part of it, unless somebody opened the file for
    /// writing since. That one may be all there is, and what it writes is the next version.
    pub fn lingers(&mut self, ticket: Ticket) {
        let newcomer = self.has_newcomer(ticket.node());
        if let Some(node) = self.nodes.get_mut(ticket.node())
            && node.attempt == ticket.attempt()
            && node.authored.is_some()
        {
            node.lingering = !newcomer;
            if node.phase == Phase::Digesting {
                node.phase = Phase::Held;
            }
        }
    }

    /// Something around the bytes was changed through the mount, and no byte: what identified them as `before` did so as `now` right
    /// after, and does as `latest` when this is told.
    pub fn restated(
        &mut self,
        file: FileKey,
        before: &FileIdentity,
        (now, latest): (FileIdentity, FileIdentity),
    ) {
        let Some(f) = self.files.get_mut(&file) else {
            return;
        };
        if let Some(w) = &mut f.writing {
            // touch(1) opens for writing and sets times: until then nothing had been written, and it still has not. What has been
            // written since `now` counts.
            if !differs(&w.before, before) {
                w.before = now;
            }
        }
        // What has changed more than its change time since is for somebody else to tell.
        let quiet = f.writing.is_none() && latest.same_bytes(&now);
        let told = if quiet { latest } else { now };
        let Some(ix) = f.current.map(|c| self.real(c)) else {
            return;
        };
        // With the change time, which is the one thing that nobody can set: whoever wrote in between and set the other times back is not
        // to pass for what was there before. A digest or a rename may have told of the new times before this does.
        let known = |i: FileIdentity| i == *before || (i.same_bytes(&now) && i.ctime >= now.ctime);
        if self.nodes[ix].identity.is_some_and(known) {
            self.at(ix).identity = Some(told);
            self.tell(ix);
            self.journal_place(ix);
        }
    }

    /// A seal is durable.
    pub fn sealed(&mut self, ticket: Ticket, manifest: ManifestRef) {
        let ix = ticket.node();
        let Some(node) = self.nodes.get(ix) else {
            return;
        };
        if node.phase != Phase::Sealing || node.attempt != ticket.attempt() {
            return;
        }
        self.at(ix).manifest = Some(manifest);
        self.counts.sealed += 1;
        self.settle(ix, State::Sealed, None);
    }

    /// A seal cannot be made, now or later.
    pub fn unsealable(&mut self, ticket: Ticket, why: String) {
        let ix = ticket.node();
        let Some(node) = self.nodes.get(ix) else {
            return;
        };
        if node.phase == Phase::Sealing && node.attempt == ticket.attempt() {
            self.settle(ix, State::Incomplete, Some(why));
        }
    }

    /// The content is about to go, or is gone: without a digest, or a copy that is being digested, it will never have one.
    pub(super) fn lose(&mut self, ix: NodeIx) {
        let ix = self.real(ix);
        if matches!(self.nodes[ix].phase, Phase::Digesting | Phase::Held) {
            self.at(ix).gone = true;
            if self.nodes[ix].kept {
                self.tell(ix);
                return;
            }
            self.name(ix);
            self.at(ix).attempt += 1;
            self.settle(
                ix,
                State::Superseded,
                Some("written again before it was digested".to_owned()),
            );
        }
    }

    /// Somebody opened the file for writing after this version had ended, and can take its bytes away.
    fn has_newcomer(&self, ix: NodeIx) -> bool {
        let node = self.nodes.get(ix).filter(|n| !n.kept);
        let file = node.and_then(|n| self.files.get(&n.file));
        let writing = file.and_then(|f| f.writing.as_ref());
        writing.is_some_and(|w| w.node != ix)
    }

    /// The file holds something else now: whatever this was is lost if nobody has digested it, and no name leads to it.
    pub(super) fn replaced(&mut self, ix: NodeIx) {
        self.lose(ix);
        if !self.nodes[ix].gone {
            self.at(ix).gone = true;
            self.tell(ix);
        }
    }

    /// A version without bytes is not sealed.
    pub(super) fn settle_empty(&mut self, ix: NodeIx) {
        self.settle(ix, State::Empty, Some("it has no bytes".to_owned()));
    }

    pub(super) fn settle(&mut self, ix: NodeIx, state: State, reason: Option<String>) {
        self.unsettled.remove(&ix);
        let beat = self.forgetting.beat();
        let node = self.at(ix);
        node.phase = Phase::Settled(state);
        node.reason = reason;
        let (file, held) = (node.file, node.quiet == Some(Quiet::Held));
        if held && state == State::Sealed {
            self.forgetting.held.insert(ix);
        }
        if let Some(file) = self.files.get_mut(&file) {
            file.touched = beat;
            file.kept = file.kept.filter(|kept| *kept != ix);
        }
        let node = self.at(ix);
        let dependents = std::mem::take(&mut node.dependents);
        let undecided = node
            .authored
            .as_ref()
            .filter(|a| a.doubtful)
            .and_then(|a| a.parent);
        self.tell(ix);
        self.release(dependents);
        if let Some(parent) = undecided.map(|p| self.real(p)) {
            // Whether its bytes were still the parent's will never be known, and nobody digests the parent any more.
            self.replaced(parent);
        }
    }

    pub(super) fn release(&mut self, dependents: Vec<NodeIx>) {
        for d in dependents {
            let node = self.at(d);
            node.waits = node.waits.saturating_sub(1);
            if node.waits == 0 && node.phase == Phase::Waiting {
                self.seal(d);
            }
        }
    }

    fn seal(&mut self, ix: NodeIx) {
        let run = self.nodes[ix].authored.as_ref().filter(|a| a.inputs > 0);
        if run.is_some_and(|a| !self.runs.contains_key(&a.run)) {
            // It never comes to this while `busy` is asked first; but inputs are never left out in silence.
            let why = "its run was forgotten before it was sealed";
            self.settle(ix, State::Incomplete, Some(why.to_owned()));
            return;
        }
        let ticket = self.new_attempt(ix);
        self.unsettled.insert(ix);
        self.at(ix).phase = Phase::Sealing;
        if let Some(plan) = self.plan(ix, ticket) {
            self.effects.push(super::Effect::Seal(Box::new(plan)));
        }
    }
}

/// What identifies a file by now.
pub(super) fn latest(known: Option<FileIdentity>, digested: FileIdentity) -> FileIdentity {
    known
        .filter(|k| told_since(k, &digested))
        .unwrap_or(digested)
}

/// Nobody can have written since the file was `known`, as far as its change time, which nobody can set, says; or this was seen before it was.
fn explained(known: Option<FileIdentity>, seen: &FileIdentity) -> bool {
    known.is_some_and(|k| k == *seen || told_since(&k, seen))
}

/// A digest may be told of after a rename, or after times that were set, which came later. Whatever else changes a file begins another
/// attempt to digest it.
fn told_since(known: &FileIdentity, digested: &FileIdentity) -> bool {
    known.size == digested.size && known.ctime > digested.ctime
}
