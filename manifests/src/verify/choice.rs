//! Which manifests speak of a file, best first. Chooses by content and lets no row decide; judging them is for `verify`.

use super::ancestry::{self, Membership};
use super::{MAX_CANDIDATES, Memo, differs, foreign};
use crate::bytes::PathBytes;
use crate::digest::{Digests, Sha256};
use crate::exclusion;
use crate::read;
use crate::rows::VersionRow;
use crate::shelf::{Object, Shelf, ShelfError};
use crate::vocabulary::State;

/// Where the subject's own manifest may be, as the caller found it.
#[derive(Debug, Clone, Default)]
pub struct ManifestChoice {
    /// `--manifest FILE.c2pa`: this one and no other.
    pub given: Option<Vec<u8>>,
    /// What the catalogue says of the file at this path.
    pub row: Option<VersionRow>,
    /// Where the file is, as the caller found out and no catalogue says: below SOURCE when that is known.
    pub place: Option<PathBytes>,
    /// A running daemon, which knows its configuration, says that the file is left out.
    pub excluded: bool,
    /// `PATH.c2pa`, when it is there: tried last.
    pub sidecar: Option<Vec<u8>>,
}

impl ManifestChoice {
    /// The path by which a set's member is meant. A row may lie about it.
    pub(super) fn path(&self) -> Option<&PathBytes> {
        let told = || self.row.as_ref().and_then(|r| r.path.as_ref());
        self.place.as_ref().or_else(told)
    }

    /// Whether it is known, other than from a row, that nothing was to be sealed here.
    fn left_out(&self) -> bool {
        self.excluded || self.place.as_ref().is_some_and(exclusion::by_default)
    }
}

pub(super) enum Found {
    /// Manifests to judge, best first. Never empty.
    Candidates(Vec<Vec<u8>>),
    /// There is a manifest for this path, and it is about other content.
    Differs(String),
    /// Nothing was to be sealed here.
    Skip(&'static str),
    /// No manifest at all.
    Nothing(String),
}

/// Chooses by content, and lets no other manifest hide that the path's own one is about something else. The row is only a hint where to
/// look: whatever it says, a manifest is judged by its own bytes.
pub(super) fn candidates(
    shelf: &dyn Shelf,
    digests: &Digests,
    choice: &ManifestChoice,
    memo: &mut Memo,
) -> Result<Found, ShelfError> {
    if let Some(bytes) = &choice.given {
        return Ok(Found::Candidates(vec![bytes.clone()]));
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    let own = choice.row.as_ref().and_then(|row| row.manifest);
    if let Some(own) = own {
        let bytes = fetch(shelf, &own.sha256)?;
        let bytes = bytes
            .ok_or_else(|| ShelfError::Damaged(format!("manifest {} is missing", own.sha256)))?;
        match read::peek(&bytes) {
            Ok(said) if said.asset.digests != *digests => {
                let path = choice.path();
                let set = said
                    .members
                    .map(|_| ancestry::membership(shelf, &said, path, digests, memo));
                match set {
                    None => return Ok(Found::Differs(differs(&said.asset.digests, digests))),
                    Some(Membership::Foreign) => {
                        return Ok(Found::Differs(foreign(&said, digests)));
                    }
                    Some(Membership::Member | Membership::Unknown) => found.push(bytes),
                }
            }
            // One that cannot be parsed is judged too, and fails there.
            Ok(_) | Err(_) => found.push(bytes),
        }
    } else if let Some(sealed) = choice.row.as_ref().and_then(|row| row.digests)
        && sealed != *digests
        && digests.size > 0
        && sidecar_fits(choice, digests).is_none()
        && shelf.manifests_of(digests)?.is_empty()
    {
        let text = format!(
            "{}; that content has no manifest either",
            differs(&sealed, digests)
        );
        return Ok(Found::Nothing(text));
    }
    for name in shelf
        .manifests_of(digests)?
        .iter()
        .rev()
        .take(MAX_CANDIDATES)
    {
        if Some(*name) != own.map(|m| m.sha256) {
            found.extend(fetch(shelf, name)?);
        }
    }
    found.extend(sidecar_fits(choice, digests).cloned());
    if !found.is_empty() {
        return Ok(Found::Candidates(found));
    }
    if let Some(sidecar) = &choice.sidecar {
        return Ok(match read::peek(sidecar) {
            Ok(said) => Found::Differs(differs(&said.asset.digests, digests)),
            Err(_) => Found::Candidates(vec![sidecar.clone()]),
        });
    }
    Ok(
        match choice
            .row
            .as_ref()
            .map(|row| (row.state, row.reason.as_deref()))
        {
            _ if digests.size == 0 => Found::Skip("it is empty: nothing is sealed for empty files"),
            Some((State::Excluded, _)) if choice.left_out() => {
                Found::Skip("it is excluded by the configuration: not sealed, and not checked")
            }
            Some((State::Excluded, _)) => Found::Nothing(
                "it has no manifest; the index says that a configuration excludes it, and nobody signed that: verify it on the mount"
                    .to_owned(),
            ),
            Some((state, Some(reason))) => {
                Found::Nothing(format!("it has no manifest: {state}, {reason}"))
            }
            Some((state, None)) => Found::Nothing(format!("it has no manifest: {state}")),
            None => Found::Nothing("there is no manifest for it".to_owned()),
        },
    )
}

fn sidecar_fits<'a>(choice: &'a ManifestChoice, digests: &Digests) -> Option<&'a Vec<u8>> {
    choice
        .sidecar
        .as_ref()
        .filter(|bytes| read::peek(bytes).is_ok_and(|s| s.asset.digests == *digests))
}

/// The object under that name, which must be what its name says, whatever shelf it comes from.
pub(super) fn fetch(shelf: &dyn Shelf, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
    match shelf.object(Object::Manifest, name)? {
        Some(bytes) if Sha256::of(&bytes) != *name => Err(ShelfError::Damaged(format!(
            "what is kept as manifest {name} is something else"
        ))),
        other => Ok(other),
    }
}
