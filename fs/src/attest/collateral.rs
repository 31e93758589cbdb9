//! Picks the collateral that verifiers of a quote will need from a directory that the operator fills. Fetches nothing, judges nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::collateral::{Collateral, MAX_COLLATERAL};
use atlas_manifests::given;

use crate::failure::shown;

/// So many files are looked at.
const MAX_FILES: usize = 1000;

/// Collateral that fits, in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// SHA-256 of the bytes: its name in a store, and in the evidence.
    pub name: Sha256,
    /// As it lay there.
    pub bytes: Arc<[u8]>,
}

/// The newest collateral in `dir` (files `*.json`) for a kind of platform that is valid at a second (Unix).
///
/// # Errors
/// One line that says what is missing and who will miss it.
pub fn pick(dir: &Path, fmspc: Option<&str>, second: u64) -> Result<Picked, String> {
    let Some(fmspc) = fmspc else {
        return Err(
            "the quote does not say what kind of platform it comes from (FMSPC): no collateral is kept with the evidence, and verifiers will need theirs"
                .to_owned(),
        );
    };
    let missing = |why: &str| {
        format!(
            "there is no collateral in {} that is valid now for the platform's FMSPC {fmspc}{why}: verifiers of this evidence will need it",
            shown(dir)
        )
    };
    let files = files(dir).map_err(|e| missing(&format!(" ({e})")))?;
    let mut best: Option<((u64, u64), Picked)> = None;
    let mut past = false;
    for path in files {
        let Ok(bytes) = given::read(&path, MAX_COLLATERAL) else {
            continue;
        };
        let Ok(collateral) = Collateral::parse(&bytes) else {
            continue;
        };
        if collateral.tee != "TDX" || collateral.fmspc != fmspc {
            continue;
        }
        if !collateral.valid_at(second) {
            past = true;
            continue;
        }
        if best.as_ref().is_none_or(|(w, _)| *w < collateral.window) {
            let picked = Picked {
                name: collateral.name,
                bytes: bytes.into(),
            };
            best = Some((collateral.window, picked));
        }
    }
    let why = if past {
        " (what is there is of another time)"
    } else {
        ""
    };
    best.map(|(_, picked)| picked).ok_or_else(|| missing(why))
}

/// In the order of their names.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)?.take(10 * MAX_FILES) {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(MAX_FILES);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::testing::collateral;

    #[test]
    fn evidence_is_not_kept_with_collateral_of_another_platform_or_of_another_time() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, fmspc: &str, from: u64, until: u64| {
            let bytes = collateral(fmspc, "TDX", from, until);
            fs::write(dir.path().join(name), &bytes).unwrap();
            bytes
        };
        put("a.json", "00606A000000", 1000, 2000);
        put("b.json", "B0C06F000000", 1000, 2000);
        let newer = put("c.json", "B0C06F000000", 1500, 2500);
        put("d.json", "B0C06F000000", 3000, 4000);
        put("e.txt", "B0C06F000000", 1600, 2600);
        fs::write(
            dir.path().join("f.json"),
            collateral("B0C06F000000", "SGX", 1700, 2700),
        )
        .unwrap();
        fs::write(dir.path().join("g.json"), b"{}").unwrap();
        let pick = |fmspc, second| pick(dir.path(), Some(fmspc), second);
        let picked = pick("b0c06f000000", 1800).unwrap();
        assert_eq!(picked.name, Sha256::of(&newer));
        assert_eq!(picked.bytes[..], newer);
        assert_ne!(pick("b0c06f000000", 1200).unwrap().name, picked.name);
        for (fmspc, second) in [("b0c06f000000", 2800), ("90c06f000000", 1800)] {
            let text = pick(fmspc, second).unwrap_err();
            assert!(text.contains(fmspc) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_missing_directory_or_kind_of_platform_is_said_in_one_line() {
        let text = pick(Path::new("/nonexistent"), Some("b0c06f000000"), 0).unwrap_err();
        assert!(text.contains("b0c06f000000"), "{text}");
        assert!(pick(Path::new("/"), None, 0).unwrap_err().contains("FMSPC"));
    }
}
