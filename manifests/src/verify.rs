//! Whether a file is what its manifest says, and descends from what it says. Fails closed: what cannot be checked does not pass.
//!
//! Finding candidates is the caller's part (CONTRACTS 5, search order); choosing among them honestly is done here.

mod ancestry;
mod attested;
mod choice;
mod hash;
mod set;
mod standing;
mod transparency;
mod verdict;

use std::fs::File;

use ancestry::Membership;
pub use ancestry::Memo;
pub use attested::verify_evidence;
use attested::{hardware, reference};
pub use choice::ManifestChoice;
use choice::{Found, candidates};
pub use hash::{HashError, digests};
pub use set::{Entry, verify_set};
pub use transparency::{Conflict, LogFacts, LogTerms, Witness};
pub use verdict::{Checks, Code, FileVerdict, Outcome, Reason, Report};

use crate::bytes::PathBytes;
use crate::digest::{Digests, Sha256};
use crate::evidence::appraise::Appraiser;
use crate::id::NodeRef;
use crate::read::{self, ReadError, Signature};
use crate::shelf::{Shelf, ShelfError};
use crate::statement::{Origin, Statement};
use crate::trust::Anchors;
use crate::vocabulary::{Closed, Quiet, Tier};

/// Of several manifests of one content, at most so many are tried, newest first.
const MAX_CANDIDATES: usize = 16;
const RESTORE: &str = "restore the state directory from a copy, or verify with --manifest";

/// What a verdict rests on.
#[derive(Debug, Default)]
pub struct Terms {
    /// Who is trusted to sign.
    pub anchors: Anchors,
    /// What is demanded of evidence.
    pub appraiser: Appraiser,
    /// What a log's head is held against.
    pub log: LogTerms,
}

impl Terms {
    /// These anchors, and of evidence what is demanded when nothing is said.
    pub fn of(anchors: Anchors) -> Self {
        Self {
            anchors,
            appraiser: Appraiser::default(),
            log: LogTerms::default(),
        }
    }
}

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

/// Verifies one file. `progress` gets the bytes hashed, and the size.
///
/// `memo` carries what was found out about ancestors to the next file; use one per shelf and terms.
pub fn verify(
    shelf: &dyn Shelf,
    terms: &Terms,
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
        let mut judged = judge(shelf, terms, verdict.clone(), &digests, bytes, choice, memo);
        if judged.verdict == Outcome::Pass {
            if choice.given.is_none() && choice.row.as_ref().is_some_and(|r| r.manifest.is_none()) {
                let text = "nothing was sealed at this path: the same bytes were sealed elsewhere, and that is verified";
                judged.add_warning(text.to_owned(), "");
            }
            return judged;
        }
        // A copy of what a killed writer left may be sealed as whole, and one of what a debug TD wrote by an honest one: neither vouches for this.
        let final_word = matches!(
            judged.code,
            Code::Incomplete | Code::Evidence | Code::Simulated
        );
        if final_word && judged.manifest == own {
            return judged;
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
    terms: &Terms,
    mut v: FileVerdict,
    digests: &Digests,
    bytes: &[u8],
    choice: &ManifestChoice,
    memo: &mut Memo,
) -> FileVerdict {
    v.manifest = Some(Sha256::of(bytes));
    let reading = match read::read(bytes, &terms.anchors.pem) {
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
    match &reading.signature {
        Signature::Trusted { signer } => {
            v.checks.signature = Tier::Affirming;
            v.signer = Some(signer.clone());
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
    let said = &reading.statement;
    let path = choice.path();
    let member = said.members.is_some() && said.asset.digests != *digests;
    if said.asset.digests == *digests {
        v.checks.artifact = Tier::Affirming;
    } else if member {
        judge_member(
            &mut v,
            said,
            ancestry::membership(shelf, said, path, digests, memo),
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
        v.member_of = Some(set_name(said));
    }
    completeness(&mut v, said);
    reference(&mut v, &terms.appraiser, digests);
    match standing::of(shelf, &terms.appraiser, &reading, memo) {
        Ok(standing) => hardware(&mut v, &terms.appraiser, &standing),
        Err(e) => v.add_failure(
            Code::Other,
            e.to_string(),
            "check that the state directory can be read",
        ),
    }
    match transparency::of(shelf, terms, &reading, memo) {
        Ok(judged) => judged.tell(&mut v),
        Err(e) => v.add_failure(
            Code::Other,
            e.to_string(),
            "check that its log can be read, or restore it from a copy",
        ),
    }
    lineage(shelf, terms, &mut v, said, memo);
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
    terms: &Terms,
    v: &mut FileVerdict,
    said: &Statement,
    memo: &mut Memo,
) {
    let found = ancestry::walk(shelf, terms, said, memo);
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
        } else if culprit.evidence {
            "verify that file by itself: it says more"
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
    if found.simulated > 0 && !terms.appraiser.policy.simulated.allow {
        v.checks.lineage = Tier::Warning;
        v.add_failure(
            Code::Simulated,
            format!(
                "the evidence of {} of its ancestors is SIMULATED",
                found.simulated
            ),
            "for tests, say --allow-simulated",
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
