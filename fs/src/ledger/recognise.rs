//! Content that is known already: the same file with other metadata, a version of an earlier life, a member of a registered set.

use atlas_manifests::id::NodeRef;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Kind, State};

use super::node::Node;
use super::{Digested, Effect, Known, Ledger, NodeIx, Phase};
use crate::caller::Who;
use crate::vfs::observer::{FileKey, Tgid};

impl Ledger {
    /// The content of a file that nobody was seen to write.
    pub(super) fn seen(&mut self, ix: NodeIx, d: Digested) {
        let file = self.nodes[ix.0 as usize].file;
        // The same file's own version, when only its metadata had changed.
        let same = self
            .nodes
            .iter()
            .enumerate()
            .rev()
            .take(256)
            .find_map(|(at, n)| {
                let at = NodeIx(u32::try_from(at).unwrap_or(u32::MAX));
                (at != ix && n.file == file && n.digests == Some(d.digests) && n.settled())
                    .then_some(at)
            });
        if let Some(same) = same.map(|s| self.real(s)) {
            self.become_same(ix, same, d.identity);
            return;
        }
        // What the file held before was known, and nobody was seen to write it since.
        let before = self.nodes[..ix.0 as usize]
            .iter()
            .rev()
            .take(256)
            .find(|n| n.file == file);
        if before.is_some_and(|n| n.digests.is_some()) {
            self.counts.behind += 1;
        }
        let excluded = self.nodes[ix.0 as usize].excluded;
        let node = self.at(ix);
        node.digests = Some(d.digests);
        node.identity = Some(d.identity);
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
        let node = &self.nodes[current.0 as usize];
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
        let found = self.nodes.iter().position(|n| n.id == Some(known.node));
        let set = match found {
            Some(at) => NodeIx(u32::try_from(at).unwrap_or(u32::MAX)),
            None => {
                let member = &self.nodes[ix.0 as usize];
                let mut node =
                    Node::new(member.file, known.path.clone(), Phase::Settled(known.state));
                node.id = Some(known.node);
                node.adopted = true;
                node.digests = Some(known.digests);
                node.manifest = known.manifest;
                node.media_type.clone_from(&known.media_type);
                self.add(node)
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
        let file = self.nodes[ix.0 as usize].file;
        let untold = std::mem::take(&mut self.at(ix).untold);
        let dependents = std::mem::take(&mut self.at(ix).dependents);
        if self.nodes[ix.0 as usize].authored.is_some()
            && let Some(NodeRef::Version(version)) = self.nodes[ix.0 as usize].id
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
        if self.nodes[same.0 as usize].settled() {
            self.release(dependents);
        } else {
            self.at(same).dependents.extend(dependents);
        }
    }
}
