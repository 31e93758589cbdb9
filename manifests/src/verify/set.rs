//! Whether a directory is the set that was registered: no member missing, none extra, none different. Not how the directory is walked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

use super::{Code, FileVerdict, ManifestChoice, Memo, Outcome, Subject, Terms, digests};
use super::{Content, verify};
use crate::bytes::PathBytes;
use crate::digest::Digests;
use crate::set::{Member, MemberList};
use crate::shelf::{Object, Shelf, ShelfError};
use crate::statement::SetHead;
use crate::vocabulary::Tier;

/// Of the same kind of finding, so many are listed; the rest is counted.
const MAX_NAMED: usize = 20;

/// One file that the caller found below the directory.
pub struct Entry<'a> {
    /// Below the set's directory, as in the member list.
    pub path: PathBytes,
    /// Opens it for reading, without following a link at its end.
    pub open: Box<dyn FnOnce() -> io::Result<File> + 'a>,
}

/// Verifies the directory at `path` as the registered set that `row` names: the member list first, by its own manifest, and then every
/// file against the list. `row` is a hint where to look, as in `verify`. `progress` gets files done, and members in all.
pub fn verify_set<'a>(
    shelf: &dyn Shelf,
    terms: &Terms,
    path: &PathBytes,
    choice: &ManifestChoice,
    entries: impl IntoIterator<Item = Entry<'a>>,
    memo: &mut Memo,
    progress: &dyn Fn(u64, u64),
) -> FileVerdict {
    let (list, bytes) = match member_list(shelf, choice) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let text = "the member list of this set is not here".to_owned();
            return FileVerdict::failed(
                path,
                Code::NoManifest,
                text,
                "restore the state directory, or register it again",
            );
        }
        Err(ShelfError::Damaged(text)) => {
            return FileVerdict::failed(
                path,
                Code::Untrusted,
                text,
                "restore the state directory from a copy",
            );
        }
        Err(e) => {
            return FileVerdict::failed(
                path,
                Code::Other,
                e.to_string(),
                "check that the state directory can be read",
            );
        }
    };
    // The list's bytes are the asset: it must pass as any file does, before anything is compared with it.
    let subject = Subject {
        path: path.clone(),
        content: Content::Digests(Digests::of(&bytes)),
    };
    let mut v = verify(shelf, terms, subject, choice, memo, &|_, _| {});
    if v.verdict != Outcome::Pass {
        return v;
    }
    if committed(shelf, choice, &v) != Some(list.head()) {
        v.checks.artifact = Tier::Contraindicated;
        return v.fail(
            Code::Differs,
            "the manifest commits to another member list".to_owned(),
            "restore the state directory from a copy",
        );
    }
    compare(&mut v, &list, entries, progress);
    v
}

/// The head of the member list in the manifest that passed.
fn committed(shelf: &dyn Shelf, choice: &ManifestChoice, v: &FileVerdict) -> Option<SetHead> {
    let name = v.manifest?;
    let fits = |bytes: &&Vec<u8>| crate::digest::Sha256::of(bytes) == name;
    let bytes = match choice.given.iter().chain(&choice.sidecar).find(fits) {
        Some(bytes) => bytes.clone(),
        None => super::choice::fetch(shelf, &name).ok()??,
    };
    crate::read::peek(&bytes).ok()?.members
}

/// The list that the manifest, or else the row, names.
fn member_list(
    shelf: &dyn Shelf,
    choice: &ManifestChoice,
) -> Result<Option<(MemberList, Vec<u8>)>, ShelfError> {
    let manifest = match (
        &choice.given,
        choice.row.as_ref().and_then(|r| r.manifest),
        &choice.sidecar,
    ) {
        (Some(bytes), _, _) => Some(bytes.clone()),
        (None, Some(own), _) => super::choice::fetch(shelf, &own.sha256)?,
        (None, None, sidecar) => sidecar.clone(),
    };
    let Some(manifest) = manifest else {
        return Ok(None);
    };
    let said = crate::read::peek(&manifest).map_err(|e| ShelfError::Damaged(e.to_string()))?;
    let Some(bytes) = shelf.object(Object::Members, &said.asset.digests.sha256)? else {
        return Ok(None);
    };
    let list = MemberList::decode(&bytes)
        .map_err(|e| ShelfError::Damaged(format!("the member list is damaged: {e}")))?;
    Ok(Some((list, bytes)))
}

#[derive(Default)]
struct Findings {
    extra: Vec<String>,
    differing: Vec<String>,
    unreadable: Vec<String>,
}

fn compare<'a>(
    v: &mut FileVerdict,
    list: &MemberList,
    entries: impl IntoIterator<Item = Entry<'a>>,
    progress: &dyn Fn(u64, u64),
) {
    let members: BTreeMap<&PathBytes, &Member> =
        list.members().iter().map(|m| (&m.path, m)).collect();
    let mut seen: BTreeSet<&PathBytes> = BTreeSet::new();
    let mut found = Findings::default();
    let total = members.len() as u64;
    for entry in entries {
        let shown = escaped(&entry.path);
        let Some((path, member)) = members.get_key_value(&entry.path) else {
            found.extra.push(shown);
            continue;
        };
        if !seen.insert(path) {
            continue;
        }
        match (entry.open)()
            .map_err(super::HashError::Io)
            .and_then(|mut f| digests(&mut f, &|_, _| {}))
        {
            Ok(now) if now == member.digests => {}
            Ok(_) => found.differing.push(shown),
            Err(e) => found.unreadable.push(format!("{shown} ({e})")),
        }
        progress(seen.len() as u64, total);
    }
    let missing: Vec<String> = members
        .keys()
        .filter(|p| !seen.contains(*p))
        .map(|p| escaped(p))
        .collect();
    let findings = [
        (
            Code::Other,
            found.unreadable,
            "cannot be read",
            "check that they can be read, and that nobody writes them",
        ),
        (
            Code::Differs,
            found.differing,
            "differ from what was registered",
            "restore them, or register the set again",
        ),
        (
            Code::Incomplete,
            missing,
            "are missing",
            "restore them, or register the set again",
        ),
        (
            Code::Incomplete,
            found.extra,
            "were not there when it was registered",
            "move them away, or register the set again",
        ),
    ];
    for (code, names, what, remedy) in findings {
        if names.is_empty() {
            continue;
        }
        match code {
            Code::Incomplete => v.checks.completeness = Tier::Contraindicated,
            Code::Differs | Code::Other => v.checks.artifact = Tier::Contraindicated,
            _ => {}
        }
        let more = names.len().saturating_sub(MAX_NAMED);
        let mut text = format!(
            "{} of its files {what}: {}",
            names.len(),
            names[..names.len() - more].join(", ")
        );
        if more > 0 {
            text.push_str(&format!(", and {more} more"));
        }
        v.add_failure(code, text, remedy);
    }
    if v.checks.completeness == Tier::None {
        v.checks.completeness = Tier::Affirming;
    }
}

/// Names come from disk and go to terminals.
fn escaped(path: &PathBytes) -> String {
    path.0.escape_ascii().to_string()
}
