//! What digests mean to the ledger: content is recognised, by its bytes and by what the index knows of them.

use std::time::{Duration, Instant};

use atlas_manifests::digest::{Blake3, DigestPrefix, Digests};
use atlas_manifests::id::NodeRef;
use atlas_manifests::kind::sniff;
use atlas_manifests::rows::{FileIdentity, VersionRow};
use atlas_manifests::shelf::Catalogue as _;
use atlas_manifests::vocabulary::{Quiet, State};

use super::{Engine, lock};
use crate::digest::Outcome;
use crate::ledger::{Digested, Known, Ticket, Undigested};

/// How long the word of a change through the mount may be behind the change itself, on a machine that is busy with other things.
const TOLD: Duration = Duration::from_secs(2);

impl Engine {
    /// A digest job ended, or has something to say. Called on the pool's threads.
    pub(super) fn outcome(&self, outcome: Outcome) {
        let Some(outcome) = self.registrations.take(outcome) else {
            return;
        };
        match outcome {
            Outcome::Done {
                ticket,
                digests,
                quiet,
                identity,
                head,
            } => {
                let ticket = Ticket(ticket);
                let (place, version) = {
                    let ledger = lock(&self.ledger);
                    (ledger.place_of(ticket), ledger.is_version(ticket))
                };
                let Some((file, path)) = place else { return };
                if quiet == Quiet::Proven {
                    self.backing.at_rest(file);
                }
                let kind = sniff(path.base_name(), &head, digests.size);
                let known = if version {
                    None
                } else {
                    self.known_content(&digests)
                };
                let (media_type, types) = (kind.media_type, kind.types);
                self.step(|l| {
                    l.digested(
                        ticket,
                        Digested {
                            digests,
                            quiet,
                            identity,
                            media_type,
                            types,
                            known,
                        },
                    );
                });
            }
            Outcome::Held { ticket } => self.step(|l| l.lingers(Ticket(ticket))),
            Outcome::Changed { ticket, identity } => {
                self.changed_under_its_digest(Ticket(ticket), identity);
            }
            Outcome::Gone { ticket } => {
                let why = self.gone(Ticket(ticket));
                self.step(|l| l.undigested(Ticket(ticket), why));
            }
            Outcome::Failed { ticket, error } => {
                self.step(|l| l.undigested(Ticket(ticket), Undigested::Failed(error)));
            }
        }
    }

    /// A change through the mount is told a moment after the store shows it, and another may have come since: what the file is now is
    /// compared with what was told, when all has been told.
    fn changed_under_its_digest(&self, ticket: Ticket, seen: FileIdentity) {
        let file = lock(&self.ledger).unexpected(ticket, &seen);
        let Some(file) = file else {
            self.step(|l| l.undigested(ticket, Undigested::Changed(seen)));
            return;
        };
        let deadline = Instant::now() + TOLD;
        loop {
            self.turns
                .told_of_all(file, deadline.saturating_duration_since(Instant::now()));
            let _turn = self.turns.of(file);
            let now = self.backing.identity(file).unwrap_or(seen);
            // Asked after the look: a change is announced before it is made.
            if !self.turns.is_changing(file) || Instant::now() >= deadline {
                self.step(|l| l.undigested(ticket, Undigested::Changed(now)));
                return;
            }
        }
    }

    /// Where the store goes by names (FUSE), a file whose name was taken away under its digest may have others.
    fn gone(&self, ticket: Ticket) -> Undigested {
        let place = lock(&self.ledger).place_of(ticket);
        let named = place.filter(|(file, _)| !self.backing.is_removed(*file));
        let now = named.and_then(|(file, _)| self.backing.identity(file).ok());
        now.map_or(Undigested::Gone, Undigested::Changed)
    }

    /// What the index knows of a file that is still as it was when it was last seen.
    pub(super) fn known_identity(&self, identity: &FileIdentity) -> Option<Known> {
        match self.index.known(identity) {
            Ok(row) => row.and_then(|r| self.known(r)),
            Err(e) => {
                tracing::warn!(error = %e, "the index cannot be asked");
                None
            }
        }
    }

    /// What a run wrote and what is still the same has a proof with its inputs: its row. It can be given no other name any more.
    pub(super) fn sealed_by_a_run(
        &self,
        identity: &FileIdentity,
        digests: &Digests,
        name: Option<&str>,
    ) -> Result<Option<VersionRow>, String> {
        let row = self.index.known(identity).map_err(|e| e.to_string())?;
        let whole = |r: &VersionRow| r.run.is_some() && r.manifest.is_some();
        let row = row.filter(|r| whole(r) && r.digests == Some(*digests));
        match name {
            Some(_) if row.is_some() => Err(
                "is sealed with its inputs already: name the run that writes it, with atlasctl run --name"
                    .to_owned(),
            ),
            _ => Ok(row),
        }
    }

    /// Content that some node of ours sealed is that version, wherever it lies now.
    fn known_content(&self, digests: &Digests) -> Option<Known> {
        let prefix = DigestPrefix {
            alg: Some(Blake3::ALG),
            hex: digests.blake3.hex(),
        };
        let rows = self.index.by_digest(&prefix).ok()?;
        let row = rows
            .into_iter()
            .rev()
            .find(|r| r.digests == Some(*digests) && r.manifest.is_some())?;
        self.known(row)
    }

    pub(super) fn known(&self, row: VersionRow) -> Option<Known> {
        let digests = row.digests?;
        if !matches!(
            row.state,
            State::Sealed | State::Logged | State::Unattested | State::Excluded
        ) {
            return None;
        }
        let set = self.set_of(&row);
        Some(Known {
            node: row.node,
            path: row.path.unwrap_or_default(),
            digests,
            manifest: row.manifest,
            media_type: row.media_type,
            state: row.state,
            set: set.map(Box::new),
        })
    }

    /// The registered set that a member's row points to by its parent.
    fn set_of(&self, row: &VersionRow) -> Option<Known> {
        let NodeRef::Content(_) = row.node else {
            return None;
        };
        let set = self.index.versions(&[row.parent?]).ok()?.pop()??;
        set.members?;
        Some(Known {
            node: set.node,
            path: set.path?,
            digests: set.digests?,
            manifest: set.manifest,
            media_type: set.media_type,
            state: set.state,
            set: None,
        })
    }
}
