//! Content that is known already: the same file with other metadata, a version of an earlier life, a member of a registered set.

use atlas_manifests::id::NodeRef;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Kind, State};

use super::node::Node;
use super::settle::latest;
use super::{Digested, Effect, Known, Ledger, NodeIx, Phase};
use crate::caller::Who;
use crate::vfs::observer::{FileKey, Tgid};

/// So many of the latest nodes are looked at for what an earlier life left of a file.
const LATEST: usize = 256;

impl Ledger {
    /// The content of a file that nobody was seen to write.
    pub(super) fn seen(&mut self, ix: NodeIx, d: Digested) {
        let file = self.nodes[ix].file;
        let held = self.at(ix).before.take().map(|b| self.real(b));
        // What the file held before, when only its metadata had changed; or what an earlier life left.
        let recent = self.nodes.iter().rev().take(LATEST).map(|(at, _)| at);
        let same = held.into_iter().chain(recent).find(|at| {
            let n = &self.nodes[*at];
            let told = n.settled() || Some(*at) == held;
            *at != ix && n.file == file && n.digests == Some(d.digests) && told
        });
        if let Some(same) = same.map(|s| self.real(s)) {
            let now = latest(self.nodes[ix].identity, d.identity);
            self.become_same(ix, same, now);
            return;
        }
        // What the file held before was known, and nobody was seen to write it since.
        if held.is_some_and(|b| self.nodes[b].digests.is_some()) {
            self.counts.behind += 1;
        }
        let excluded = self.nodes[ix].excluded;
        let node = self.at(ix);
        node.digests = Some(d.digests);
        node.identity = Some(latest(node.identity, d.identity));
        node.quiet = Some(d.quiet);
        node.media_type = Some(d.media_type);
        node.types = d.types;
        let (id, state) = match d.known {
            Some(known) => {
                node.manifest = known.manifest;
                node.adopted = true;
                let (id, state) = (known.node, known.state);
                self.join_set(ix, known.set.as_deref());
                (id, state)
            }
            None => (
                NodeRef::Content(d.digests.blake3),
                if excluded {
                    State::Excluded
                } else {
                    State::Unattested
                },
            ),
        };
        self.at(ix).id = Some(id);
        self.settle(ix, state, None);
    }

    /// A person registered what a file holds.
    pub fn registered(&mut self, file: FileKey, identity: FileIdentity, known: &Known) {
        let Some(f) = self.files.get(&file) else {
            return;
        };
        let (Some(current), None) = (f.current, &f.writing) else {
            return;
        };
        let current = self.real(current);
        let node = &self.nodes[current];
        if node.identity != Some(identity) || node.manifest.is_some() {
            return;
        }
        let mut next = Node::new(file, node.path.clone(), Phase::Settled(known.state));
        next.id = Some(known.node);
        next.adopted = true;
        next.identity = Some(identity);
        next.digests = Some(known.digests);
        next.manifest = known.manifest;
        next.media_type.clone_from(&known.media_type);
        let next = self.add(next);
        self.join_set(next, known.set.as_deref());
        if let Some(f) = self.files.get_mut(&file) {
            f.current = Some(next);
        }
    }

    /// A member of a registered set: whoever used the one used the other.
    pub(super) fn join_set(&mut self, ix: NodeIx, set: Option<&Known>) {
        let Some(known) = set else { return };
        let set = match self.sets.get(&known.node) {
            Some(at) => *at,
            None => {
                let member = &self.nodes[ix];
                let mut node =
                    Node::new(member.file, known.path.clone(), Phase::Settled(known.state));
                node.id = Some(known.node);
                node.adopted = true;
                node.digests = Some(known.digests);
                node.manifest = known.manifest;
                node.media_type.clone_from(&known.media_type);
                let at = self.add(node);
                self.sets.insert(known.node, at);
                at
            }
        };
        self.at(ix).set = Some(set);
        for (run, place) in self.at(ix).untold.clone() {
            if let Some(u) = self.runs.get(&run).and_then(|r| r.list.get(place)).cloned() {
                let who = Who {
                    run,
                    process: u.process,
                    tree: u.tree,
                    tgid: Tgid(0),
                };
                self.enter_use(who, set, Kind::Set, &u.path);
            }
        }
    }

    pub(super) fn become_same(&mut self, ix: NodeIx, same: NodeIx, identity: FileIdentity) {
        let file = self.nodes[ix].file;
        let untold = std::mem::take(&mut self.at(ix).untold);
        let dependents = std::mem::take(&mut self.at(ix).dependents);
        if self.nodes[ix].authored.is_some()
            && let Some(NodeRef::Version(version)) = self.nodes[ix].id
        {
            self.effects.push(Effect::Withdrawn(version));
        }
        self.at(ix).phase = Phase::Same(same);
        self.unsettled.remove(&ix);
        self.at(same).identity = Some(identity);
        self.at(same).gone = false;
        if let Some(f) = self.files.get_mut(&file)
            && f.current == Some(ix)
        {
            f.current = Some(same);
        }
        self.tell(same);
        for (run, place) in untold {
            self.tell_use(run, place);
        }
        if self.nodes[same].settled() {
            self.release(dependents);
        } else {
            // It waits by its own number, which is not that of a first sight: only who ended later waits for it.
            let own = self.nodes[same].number();
            let (later, others) = dependents
                .into_iter()
                .partition(|d| self.nodes[*d].number() > own);
            self.at(same).dependents.extend::<Vec<_>>(later);
            self.release(others);
        }
    }
}
