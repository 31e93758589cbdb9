//! What the next life would need, as it is now: uses, ended versions, and where their bytes are. Not the journal: see `engine`.

use atlas_manifests::id::RunId;

use super::{Effect, Ledger, NodeIx, Phase, Place, RawUse};

impl Ledger {
    pub(super) fn journal_ended(&mut self, ix: NodeIx) {
        if let Some(row) = self.nodes[ix].row(|i| self.id_of(i)) {
            self.effects.push(Effect::Ended(Box::new(row)));
        }
    }

    pub(super) fn journal_use(&mut self, run: RunId, place: usize) {
        let Some(u) = self.runs.get(&run).and_then(|r| r.list.get(place)).cloned() else {
            return;
        };
        let n = &self.nodes[u.node];
        self.effects.push(Effect::Used(Box::new(RawUse {
            run,
            order: place as u64,
            kind: u.kind,
            process: u.process,
            tree: u.tree,
            // A content that is not settled has to be found again, so its name now is what counts.
            path: if n.settled() { u.path } else { n.path.clone() },
            node: n.id.filter(|_| !n.undecided()),
            identity: n.identity,
            open: u.open,
        })));
    }

    /// A node's name, or what identifies its bytes, has changed: what the journal says of it would not be found again.
    pub(super) fn journal_place(&mut self, ix: NodeIx) {
        let node = &self.nodes[ix];
        if node.phase == Phase::Open {
            return;
        }
        let (settled, authored) = (node.settled(), node.authored.is_some());
        let place = node.id.zip(node.identity).map(|(id, identity)| Place {
            node: id,
            path: node.path.clone(),
            identity,
        });
        match place {
            Some(place) if settled => self.effects.push(Effect::Moved(Box::new(place))),
            _ if authored => self.journal_ended(ix),
            _ => {}
        }
        for (run, place) in self.nodes[ix].untold.clone() {
            self.journal_use(run, place);
        }
    }
}
