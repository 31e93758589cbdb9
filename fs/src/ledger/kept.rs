//! Contents whose bytes were kept when a writer came before they were digested. Not how: the store shares their blocks, see `digest::snapshot`.

use atlas_manifests::rows::FileIdentity;

use super::{Ledger, NodeIx, Phase, Ticket};
use crate::vfs::observer::FileKey;

impl Ledger {
    /// `None` when a writer that comes now takes no bytes away that wait for their digest; else what identifies them, as far as that is known: of
    /// a version that somebody could write on after its close it is what it has become when nobody can any more. One content of a file at a
    /// time: who writes a file over and over does not pay for a copy each time.
    pub fn at_stake(&self, file: FileKey) -> Option<Option<FileIdentity>> {
        let node = &self.nodes[self.undigested_in(file)?];
        Some(node.identity.filter(|_| !node.lingering))
    }

    /// A copy of these bytes was taken: they are digested whatever happens to the file now. The attempt, and whether it is about a version.
    pub fn kept(&mut self, file: FileKey, identity: &FileIdentity) -> Option<(Ticket, bool)> {
        let ix = self.undigested_in(file)?;
        let node = self.at(ix);
        if !node.lingering && !node.identity.is_some_and(|i| i.same_bytes(identity)) {
            return None;
        }
        if node.lingering {
            node.identity = Some(*identity);
        }
        node.kept = true;
        node.phase = Phase::Digesting;
        let ended = node.authored.is_some();
        if let Some(f) = self.files.get_mut(&file) {
            f.kept = Some(ix);
        }
        Some((self.new_attempt(ix), ended))
    }

    fn undigested_in(&self, file: FileKey) -> Option<NodeIx> {
        let f = self.files.get(&file)?;
        let pending = |ix| {
            self.nodes
                .get(ix)
                .is_some_and(|n| n.phase == Phase::Digesting)
        };
        if f.kept.is_some_and(pending) {
            return None;
        }
        let ix = self.real(f.current?);
        let node = &self.nodes[ix];
        let lost = matches!(node.phase, Phase::Digesting | Phase::Held);
        (lost && !node.excluded && !node.undecided()).then_some(ix)
    }
}
