//! The directories where reference values are pinned, outside the data: loaded, added to, removed from. Not what they say, nor how they are signed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::signed::{
    ReferenceError, ReferenceSigner, io_error, parse, read, read_limited, signer, unfit,
};
use super::{References, Vouched};
use crate::digest::Sha256;
use crate::durable::{make_dir, write_durably};
use crate::given;

/// Where root pins reference values for everybody on the machine.
pub const SYSTEM_DIR: &str = "/etc/atlas/reference";
/// Where the keys of those who signed what is pinned lie, below the pins.
const SIGNERS: &str = "signers";

/// What `remove` took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// SHA-256 of the file's bytes.
    pub fingerprint: Sha256,
    /// Where it was.
    pub file: PathBuf,
    /// What it was, where it could still be read.
    pub vouched: Option<Vouched>,
}

/// The directories that are looked into when nothing else is said: the machine's, then the user's.
pub fn default_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from(SYSTEM_DIR)];
    dirs.extend(user_dir());
    dirs
}

/// `~/.config/atlas/reference`, beside the authorities that the user trusts; `None` without a home.
pub fn user_dir() -> Option<PathBuf> {
    crate::trust::user_dir().map(|trust| trust.with_file_name("reference"))
}

impl References {
    /// Reads what is pinned in the directories (`*.json`, with `signers/*.pem`), and the files given with their signers. A file that
    /// cannot be used is an error, so that a verdict never rests on less than the person believes.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(
        dirs: &[PathBuf],
        files: &[PathBuf],
        signers: &[PathBuf],
    ) -> Result<Self, ReferenceError> {
        let mut all = Self::default();
        let mut known = Vec::new();
        for file in signers {
            known.push(signer(file)?);
        }
        for dir in dirs {
            let mut here = known.clone();
            here.extend(pinned_signers(dir)?);
            for file in given::pinned(dir, "json").map_err(io_error(dir))? {
                // Being here is being pinned: nobody needs to have signed it.
                let vouched = read(&file, &here, true)?;
                if changed(&vouched) {
                    let what = "was changed since it was pinned: remove the file, and add the original again";
                    return Err(unfit(&file)(what.to_owned()));
                }
                // A policy that names signers wants theirs, and not those of whoever else is pinned.
                let wanted = |id| known.iter().any(|k| k.id() == id);
                if signers.is_empty() || vouched.signer.is_some_and(wanted) {
                    all.documents.push(vouched);
                }
            }
        }
        for file in files {
            all.documents.push(read(file, &known, signers.is_empty())?);
        }
        Ok(all)
    }
}

/// `add` calls a file by its fingerprint; one that somebody put there by hand may be called anything.
fn changed(vouched: &Vouched) -> bool {
    let stem = vouched.file.file_stem().and_then(|s| s.to_str());
    let named = |s: &&str| s.len() == 64 && s.bytes().all(|b| b.is_ascii_hexdigit());
    stem.filter(named)
        .is_some_and(|s| s != vouched.fingerprint.hex())
}

fn pinned_signers(dir: &Path) -> Result<Vec<ReferenceSigner>, ReferenceError> {
    let dir = dir.join(SIGNERS);
    let files = given::pinned(&dir, "pem").map_err(io_error(&dir))?;
    files.iter().map(|f| signer(f)).collect()
}

/// Pins a file in a directory, under the digest of its bytes, and with it the signer's key. When a signer is given, it must be theirs.
/// Durable when it returns.
///
/// # Errors
/// When the file cannot be used, or the directory cannot be written.
pub fn add(
    dir: &Path,
    file: &Path,
    signer_file: Option<&Path>,
    unsigned: bool,
) -> Result<Vouched, ReferenceError> {
    let given = signer_file.map(signer).transpose()?;
    let signers = match &given {
        Some(given) => vec![given.clone()],
        None => pinned_signers(dir)?,
    };
    // Once: what is pinned are the very bytes that were checked.
    let bytes = read_limited(file)?;
    let mut vouched = parse(file, &bytes, &signers, unsigned)?;
    make_dir(dir, 0o755).map_err(io_error(dir))?;
    // The key first: a document whose signer is not known would spoil all that is pinned.
    if let Some(key) = given.filter(|k| Some(k.id()) == vouched.signer) {
        let place = dir.join(SIGNERS);
        make_dir(&place, 0o755).map_err(io_error(&place))?;
        let to = key_file(dir, &key.id());
        // Never the file as it was given: a private key may stand in it too, and everybody reads this directory.
        let pem = key.pem().map_err(unfit(&to))?;
        write_durably(&to, pem.as_bytes(), 0o644).map_err(io_error(&to))?;
    }
    let to = dir.join(format!("{}.json", vouched.fingerprint.hex()));
    write_durably(&to, &bytes, 0o644).map_err(io_error(&to))?;
    vouched.file = to;
    Ok(vouched)
}

/// Takes the pin away from `dir`, and the signer's key with the last document of theirs. `which` is a fingerprint, or at least 8 hex
/// digits of one, with or without `sha256:`. A file that can no longer be used can still be removed.
///
/// # Errors
/// None such, several such, or the directory cannot be written.
pub fn remove(dir: &Path, which: &str) -> Result<Removed, ReferenceError> {
    let hex = which.strip_prefix("sha256:").unwrap_or(which);
    if hex.len() < 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ReferenceError::NotFound(format!(
            "{which:?} is not a fingerprint: give at least 8 of its hex digits (see `atlasctl reference list`)"
        )));
    }
    let hex = hex.to_ascii_lowercase();
    let signers = pinned_signers(dir).unwrap_or_default();
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for file in given::pinned(dir, "json").map_err(io_error(dir))? {
        let bytes = read_limited(&file)?;
        let vouched = parse(&file, &bytes, &signers, true).ok();
        let fingerprint = Sha256::of(&bytes);
        if fingerprint.hex().starts_with(&hex) {
            found.push(Removed {
                fingerprint,
                file,
                vouched,
            });
        } else {
            others.extend(vouched.and_then(|v| v.signer));
        }
    }
    let gone = match found.pop() {
        Some(one) if found.is_empty() => one,
        Some(_) => {
            return Err(ReferenceError::NotFound(format!(
                "{which} names several reference values in {dir:?}: give more digits"
            )));
        }
        None => {
            return Err(ReferenceError::NotFound(format!(
                "no reference values {which} in {dir:?}: see `atlasctl reference list`"
            )));
        }
    };
    fs::remove_file(&gone.file).map_err(io_error(&gone.file))?;
    let signer = gone.vouched.as_ref().and_then(|v| v.signer);
    if let Some(signer) = signer.filter(|s| !others.contains(s)) {
        let key = key_file(dir, &signer);
        match fs::remove_file(&key) {
            // One that was put there by hand has a name of its own, and stays.
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(&key)(e)),
            _ => {}
        }
    }
    Ok(gone)
}

fn key_file(dir: &Path, signer: &Sha256) -> PathBuf {
    dir.join(SIGNERS).join(format!("{}.pem", signer.hex()))
}

#[cfg(test)]
mod tests {
    use super::super::signed::tests::keys;
    use super::super::tests::{found, references};
    use super::super::{Document, Match};
    use super::*;
    #[test]
    fn what_is_pinned_is_found_again_with_its_signer() {
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("reference");
        let (private, pem) = keys(3);
        let (file, public) = (dir.path().join("r.json"), dir.path().join("k.pub"));
        let document = references(vec![found()]).documents.remove(0).document;
        fs::write(&file, document.sign(&private).unwrap()).unwrap();
        fs::write(&public, &pem).unwrap();
        assert!(add(&pins, &file, None, false).is_err());
        assert!(!pins.exists(), "nothing was changed");
        add(&pins, &file, Some(&public), false).unwrap();
        add(&pins, &file, None, false).unwrap();
        let all = References::load(&[pins], &[], &[]).unwrap();
        assert_eq!(all.documents.len(), 1);
        assert_eq!(
            all.documents[0].signer,
            Some(ReferenceSigner::from_pem(&pem).unwrap().id())
        );
        assert!(matches!(all.compare(&found()), Match::Full(_)));
    }
    /// Somebody pinned B's values on this machine; the policy wants A's.
    #[test]
    fn a_policy_that_names_signers_takes_no_others_word() {
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("reference");
        let (private, public) = keys(3);
        let (_, wanted) = keys(4);
        let (file, key) = (dir.path().join("r.json"), dir.path().join("b.pub"));
        let document = references(vec![found()]).documents.remove(0).document;
        fs::write(&file, document.sign(&private).unwrap()).unwrap();
        fs::write(&key, &public).unwrap();
        add(&pins, &file, Some(&key), false).unwrap();
        let a = dir.path().join("a.pub");
        fs::write(&a, &wanted).unwrap();
        let dirs = [pins];
        let load = |signer: PathBuf| References::load(&dirs, &[], &[signer]).unwrap();
        assert_eq!(load(a).compare(&found()), Match::Nothing);
        assert!(matches!(load(key).compare(&found()), Match::Full(_)));
    }

    #[test]
    fn a_pin_is_taken_away_whole_and_only_the_one_that_was_meant() {
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("reference");
        let (private, public) = keys(3);
        let key = dir.path().join("k.pem");
        fs::write(&key, &public).unwrap();
        let mut pinned = Vec::new();
        for name in ["one", "two"] {
            let file = dir.path().join(name);
            let document = Document {
                name: name.to_owned(),
                ..references(vec![found()]).documents.remove(0).document
            };
            fs::write(&file, document.sign(&private).unwrap()).unwrap();
            pinned.push(add(&pins, &file, Some(&key), false).unwrap());
        }
        let theirs = key_file(&pins, &pinned[0].signer.unwrap());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), public);
        for bad in ["", "0123456", "not hex!", "0000000000000000"] {
            assert!(matches!(
                remove(&pins, bad),
                Err(ReferenceError::NotFound(_))
            ));
        }
        // Half a file that a crash left is no pin.
        fs::write(pins.join(".tmp-x.json"), "{").unwrap();
        let gone = remove(&pins, &pinned[0].fingerprint.hex()[..8].to_uppercase()).unwrap();
        assert_eq!(gone.fingerprint, pinned[0].fingerprint);
        assert_eq!(gone.vouched.as_ref(), Some(&pinned[0]));
        let left = References::load(std::slice::from_ref(&pins), &[], &[]).unwrap();
        assert_eq!(left.documents, pinned[1..]);
        remove(&pins, &pinned[1].fingerprint.to_string()).unwrap();
        assert!(!theirs.exists(), "nobody is believed for nothing");
    }

    #[test]
    fn a_pin_that_was_changed_since_is_refused_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("reference");
        let file = dir.path().join("r.json");
        let document = references(vec![found()]).documents.remove(0).document;
        fs::write(&file, serde_json::to_string(&document).unwrap()).unwrap();
        let pinned = add(&pins, &file, None, true).unwrap();
        let changed = fs::read_to_string(&file).unwrap().replace("image", "imbge");
        fs::write(&pinned.file, &changed).unwrap();
        let load = || References::load(std::slice::from_ref(&pins), &[], &[]);
        assert!(load().unwrap_err().to_string().contains("changed since"));
        remove(&pins, &Sha256::of(changed.as_bytes()).hex()).unwrap();
        assert_eq!(load().unwrap(), References::default());
    }

    #[test]
    fn where_signers_are_named_what_nobody_signed_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let pins = dir.path().join("reference");
        let (file, key) = (dir.path().join("r.json"), dir.path().join("k.pem"));
        let document = references(vec![found()]).documents.remove(0).document;
        fs::write(&file, serde_json::to_string(&document).unwrap()).unwrap();
        fs::write(&key, keys(1).1).unwrap();
        add(&pins, &file, None, true).unwrap();
        let load = |files: &[PathBuf]| {
            References::load(
                std::slice::from_ref(&pins),
                files,
                std::slice::from_ref(&key),
            )
        };
        assert_eq!(load(&[]).unwrap(), References::default());
        assert!(load(&[file]).is_err(), "one that was named must be usable");
    }
}
