//! Whether a file is what its manifest says, and descends from what it says. Fails closed: what cannot be checked does not pass.
//!
//! Finding candidates is the caller's part (CONTRACTS 5, search order); choosing among them honestly is done here.

mod ancestry;
mod hash;
mod set;
mod verdict;

use std::fs::File;

use ancestry::Membership;
pub use ancestry::Memo;
pub use hash::{HashError, digests};
pub use set::{Entry, verify_set};
pub use verdict::{Checks, Code, FileVerdict, Outcome, Reason, Report};

use crate::bytes::PathBytes;
use crate::digest::{Digests, Sha256};
use crate::id::NodeRef;
use crate::read::{self, ReadError, Signature};
use crate::rows::VersionRow;
use crate::shelf::{Object, Shelf, ShelfError};
use crate::statement::{Origin, Statement};
use crate::trust::Anchors;
use crate::vocabulary::{Closed, Quiet, State, Tier};

/// Of several manifests of one content, at most so many are tried, newest first.
const MAX_CANDIDATES: usize = 16;
const RESTORE: &str = "restore the state directory from a copy, or verify with --manifest";

/// What is verified.
#[derive(Debug)]
pub struct Subject {
    /// As asked for; only shown.
    pub path: PathBytes,
    /// What is there.
    pub content: Content,
}

/// The bytes of a subject.
#[derive(Debug)]
pub enum Content {
    /// Opened for reading, once; hashed now, from that descriptor.
    File(File),
    /// Hashed now by the caller.
    Digests(Digests),
}

/// Where the subject's own manifest may be, as the caller found it.
#[derive(Debug, Clone, Default)]
pub struct ManifestChoice {
    /// `--manifest FILE.c2pa`: this one and no other.
    pub given: Option<Vec<u8>>,
    /// What the catalogue says of the file at this path.
    pub row: Option<VersionRow>,
    /// `PATH.c2pa`, when it is there: tried last.
    pub sidecar: Option<Vec<u8>>,
}

/// Verifies one file. `progress` gets the bytes hashed, and the size.
///
/// `memo` carries what was found out about ancestors to the next file; use one per shelf and set of anchors.
pub fn verify(
    shelf: &dyn Shelf,
    anchors: &Anchors,
    subject: Subject,
    choice: &ManifestChoice,
    memo: &mut Memo,
    progress: &dyn Fn(u64, u64),
) -> FileVerdict {
    let Subject { path, content } = subject;
    let digests = match content {
        Content::Digests(digests) => digests,
        Content::File(mut file) => match digests(&mut file, progress) {
            Ok(digests) => digests,
            Err(e) => {
                let remedy = match e {
                    HashError::Changed => "verify it again when nobody writes it",
                    HashError::Io(_) => "check that it can be read",
                    HashError::NotAFile => "name a regular file",
                };
                return FileVerdict::failed(&path, Code::Other, e.to_string(), remedy);
            }
        },
    };
    let mut verdict = FileVerdict::new(&path);
    verdict.digest = Some(digests.blake3);
    let candidates = match candidates(shelf, &digests, choice, memo) {
        Ok(Found::Candidates(candidates)) => candidates,
        Ok(Found::Differs(text)) => {
            verdict.checks.artifact = Tier::Contraindicated;
            return verdict.fail(
                Code::Differs,
                text,
                "restore the file, or find out who changed it",
            );
        }
        Ok(Found::Skip(text)) => {
            let mut skipped = FileVerdict::skipped(&path, text);
            skipped.digest = Some(digests.blake3);
            return skipped;
        }
        Ok(Found::Nothing(text)) => {
            return verdict.fail(
                Code::NoManifest,
                text,
                "write it through the mount, register it, or give --manifest",
            );
        }
        Err(ShelfError::Damaged(text)) => {
            verdict.checks.signature = Tier::Contraindicated;
            return verdict.fail(
                Code::Untrusted,
                format!("its manifest is damaged: {text}"),
                RESTORE,
            );
        }
        Err(e) => {
            return verdict.fail(
                Code::Other,
                e.to_string(),
                "check that the state directory can be read",
            );
        }
    };
    // Of several manifests for these bytes the newest that passes; when none does, the newest speaks.
    let mut first = None;
    let own = choice.row.as_ref().and_then(|r| Some(r.manifest?.sha256));
    for bytes in candidates.iter().take(MAX_CANDIDATES) {
        let mut judged = judge(
            shelf,
            anchors,
            verdict.clone(),
            &digests,
            bytes,
            choice,
            memo,
        );
        if judged.verdict == Outcome::Pass {
            if choice.given.is_none() && choice.row.as_ref().is_some_and(|r| r.manifest.is_none()) {
                let text = "nothing was sealed at this path: the same bytes were sealed elsewhere, and that is verified";
                judged.add_warning(text.to_owned(), "");
            }
            return judged;
        }
        if judged.code == Code::Incomplete && judged.manifest == own {
            return judged; // A copy of what a killed writer left may be sealed as whole: it does not vouch for this one.
        }
        first.get_or_insert(judged);
    }
    first.unwrap_or_else(|| {
        verdict.fail(
            Code::NoManifest,
            "no manifest".to_owned(),
            "give --manifest",
        )
    })
}

enum Found {
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
fn candidates(
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
                let path = choice.row.as_ref().and_then(|r| r.path.as_ref());
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
            Some((State::Excluded, _)) => {
                Found::Skip("it is excluded by the configuration: not sealed, and not checked")
            }
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
fn fetch(shelf: &dyn Shelf, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
    match shelf.object(Object::Manifest, name)? {
        Some(bytes) if Sha256::of(&bytes) != *name => Err(ShelfError::Damaged(format!(
            "what is kept as manifest {name} is something else"
        ))),
        other => Ok(other),
    }
}

fn differs(sealed: &Digests, now: &Digests) -> String {
    if sealed.size == now.size {
        format!(
            "its content differs from what was sealed: {} now, {} sealed, {} bytes both",
            now.blake3, sealed.blake3, now.size
        )
    } else {
        format!(
            "its content differs from what was sealed: {} of {} bytes now, {} of {} bytes sealed",
            now.blake3, now.size, sealed.blake3, sealed.size
        )
    }
}

fn foreign(set: &Statement, now: &Digests) -> String {
    format!(
        "its content differs from what {} holds: {} of {} bytes now",
        set_name(set),
        now.blake3,
        now.size
    )
}

/// A registered set in words. The name is what somebody gave it.
fn set_name(set: &Statement) -> String {
    let given = match &set.origin {
        Origin::Registered { name, .. } => name.as_deref(),
        Origin::Run(_) => None,
    };
    match given.or(set.title.as_deref()) {
        Some(name) => format!("the set {name:?}"),
        None => format!("the set {}", set.version),
    }
}

/// Everything that follows from one manifest.
fn judge(
    shelf: &dyn Shelf,
    anchors: &Anchors,
    mut v: FileVerdict,
    digests: &Digests,
    bytes: &[u8],
    choice: &ManifestChoice,
    memo: &mut Memo,
) -> FileVerdict {
    v.manifest = Some(Sha256::of(bytes));
    let reading = match read::read(bytes, &anchors.pem) {
        Ok(reading) => reading,
        Err(e) => {
            v.checks.signature = Tier::Contraindicated;
            let remedy = match e {
                ReadError::Foreign(_) => "give the manifest that Atlas made for this file",
                ReadError::Malformed(_) | ReadError::Tampered(_) if choice.given.is_some() => {
                    "export it again from the state that sealed this file"
                }
                ReadError::Malformed(_) | ReadError::Tampered(_) => RESTORE,
            };
            return v.fail(Code::Untrusted, e.to_string(), remedy);
        }
    };
    match reading.signature {
        Signature::Trusted { signer } => {
            v.checks.signature = Tier::Affirming;
            v.signer = Some(signer);
        }
        Signature::Untrusted { reason } => {
            v.checks.signature = Tier::Contraindicated;
            // What an untrusted signer says is not repeated, only that it is not about these bytes either.
            let remedy =
                "if you know the authority from elsewhere, pin it with `atlasctl trust add`";
            v.add_failure(
                Code::Untrusted,
                format!("its manifest is not signed by anybody trusted: {reason}"),
                remedy,
            );
        }
    }
    let said = reading.statement;
    let path = choice.row.as_ref().and_then(|r| r.path.as_ref());
    let member = said.members.is_some() && said.asset.digests != *digests;
    if said.asset.digests == *digests {
        v.checks.artifact = Tier::Affirming;
    } else if member {
        judge_member(
            &mut v,
            &said,
            ancestry::membership(shelf, &said, path, digests, memo),
            digests,
        );
    } else {
        v.checks.artifact = Tier::Contraindicated;
        let remedy = "restore the file, or give the manifest that is about it";
        v.add_failure(Code::Differs, differs(&said.asset.digests, digests), remedy);
    }
    if v.checks.signature != Tier::Affirming {
        return v;
    }
    if member && v.verdict == Outcome::Pass {
        v.member_of = Some(set_name(&said));
    }
    completeness(&mut v, &said);
    lineage(shelf, anchors, &mut v, &said, memo);
    v
}

/// A file that has no manifest of its own, only that of the set it belongs to.
fn judge_member(v: &mut FileVerdict, set: &Statement, membership: Membership, now: &Digests) {
    v.checks.artifact = Tier::Contraindicated;
    match membership {
        Membership::Member => v.checks.artifact = Tier::Affirming,
        Membership::Foreign => v.add_failure(
            Code::Differs,
            foreign(set, now),
            "restore the file, or register the set again",
        ),
        Membership::Unknown => v.add_failure(
            Code::Ancestor,
            format!("the member list of {} is missing or damaged", set_name(set)),
            RESTORE,
        ),
    }
}

/// How the writer let go says whether it finished, and never whether it wrote what it should.
fn completeness(v: &mut FileVerdict, said: &Statement) {
    if let Origin::Registered { .. } = said.origin {
        // Nobody saw who wrote it.
        return;
    }
    let tier = match (said.closed, said.status, said.quiet) {
        (Closed::Killed, status, _) => {
            let by = status.map_or_else(|| "a signal".to_owned(), |s| format!("signal {s}"));
            let text = format!("its writer was killed by {by}: the content may be cut short");
            v.add_failure(
                Code::Incomplete,
                text,
                "run the job again, or use an earlier checkpoint",
            );
            Tier::Contraindicated
        }
        (Closed::Exit, status, _) if status != Some(0) => {
            let with =
                status.map_or_else(|| "an unknown status".to_owned(), |s| format!("status {s}"));
            v.add_warning(
                format!("its writer exited with {with} while it was open"),
                "look at the job's own messages",
            );
            Tier::Warning
        }
        (_, _, Quiet::Held) => {
            let text = "somebody still held it open for writing while it was sealed; it was watched, and nobody wrote";
            v.add_warning(text.to_owned(), "");
            Tier::Warning
        }
        (Closed::Explicit | Closed::Exit, _, Quiet::Proven) => Tier::Affirming,
    };
    v.checks.completeness = tier;
}

fn lineage(
    shelf: &dyn Shelf,
    anchors: &Anchors,
    v: &mut FileVerdict,
    said: &Statement,
    memo: &mut Memo,
) {
    let found = ancestry::walk(shelf, &anchors.pem, said, memo);
    v.ancestors = found.checked;
    if let Some(culprit) = found.culprit {
        v.checks.lineage = Tier::Contraindicated;
        v.checks.inputs = Tier::None;
        let path: Vec<String> = culprit.path.iter().map(NodeRef::to_string).collect();
        let who = path.last().cloned().unwrap_or_default();
        let text = format!(
            "ancestor {who} cannot be verified: {} (by way of {})",
            culprit.why,
            path.join(" <- ")
        );
        let remedy = if culprit.io {
            "check that the state directory can be read, and verify again"
        } else {
            RESTORE
        };
        v.add_failure(Code::Ancestor, text, remedy);
        return;
    }
    v.checks.lineage = Tier::Affirming;
    v.checks.inputs = Tier::Affirming;
    if found.killed > 0 {
        v.checks.lineage = Tier::Warning;
        v.add_warning(
            match found.killed {
                1 => "one of its ancestors was left by a writer that was killed".to_owned(),
                n => format!("{n} of its ancestors were left by writers that were killed"),
            },
            "",
        );
    }
    if found.unattested > 0 {
        v.checks.inputs = Tier::Warning;
        let text = match found.unattested {
            1 => "one input has no manifest of its own and is known by digest only".to_owned(),
            n => format!("{n} inputs have no manifest of their own and are known by digest only"),
        };
        v.add_warning(
            text,
            "seal them with `atlasctl register`, before the next run",
        );
    }
    if found.open > 0 {
        v.checks.inputs = Tier::Warning;
        v.add_warning(
            match found.open {
                1 => "one input was not finished or not sealed yet when it was used".to_owned(),
                n => format!("{n} inputs were not finished or not sealed yet when they were used"),
            },
            "",
        );
    }
}

#[cfg(test)]
pub(crate) mod chain;
#[cfg(test)]
mod set_tests;
#[cfg(test)]
mod tests;
