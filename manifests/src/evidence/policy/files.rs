//! The files that a policy names, read: reference values, their signers, a simulator's root. Not the policy's own text, and no verdict.

use std::path::{Path, PathBuf};

use super::{Policy, is_text};
use crate::evidence::reference::{ReferenceError, References, read_limited, unfit};
use crate::log::quorum::Quorum;

/// What a policy rests on, beside its own text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// What is pinned in the directories, and what the policy names.
    pub references: References,
    /// The simulator's root certificate that it names, in DER.
    pub simulated_root: Option<Vec<u8>>,
    /// The witnesses that it names.
    pub witnesses: Option<Quorum>,
}

impl Policy {
    /// A policy's text, for `parse`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(file: &Path) -> Result<String, ReferenceError> {
        let bytes = read_limited(file)?;
        String::from_utf8(bytes).map_err(|_| unfit(file)("not UTF-8, as TOML must be".to_owned()))
    }

    /// Reads every file that the policy names, and the reference values that are pinned in these directories.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn files(&self, pinned: &[PathBuf]) -> Result<PolicyFiles, ReferenceError> {
        let named = &self.measurements;
        let root = self.simulated.root.as_deref();
        let witnesses = self.log.witnesses.as_deref();
        Ok(PolicyFiles {
            references: References::load(pinned, &named.reference, &named.signers)?,
            simulated_root: root.map(certificate).transpose()?,
            witnesses: witnesses.map(quorum).transpose()?,
        })
    }
}

/// Who must have cosigned, as a file or the policy itself says.
fn quorum(given: &Path) -> Result<Quorum, ReferenceError> {
    if !is_text(given) {
        let bytes = read_limited(given)?;
        return Quorum::parse(&bytes).map_err(|e| unfit(given)(e.to_string()));
    }
    let place = Path::new("log.witnesses");
    let text = given.as_os_str().as_encoded_bytes();
    Quorum::parse(text).map_err(|e| unfit(place)(e.to_string()))
}

/// The one certificate of a PEM file, in DER.
fn certificate(file: &Path) -> Result<Vec<u8>, ReferenceError> {
    let bytes = read_limited(file)?;
    let wrong = || unfit(file)("not one certificate in PEM: name the simulator's root".to_owned());
    let blocks = pem::parse_many(&bytes).map_err(|_| wrong())?;
    let [block] = blocks.as_slice() else {
        return Err(wrong());
    };
    let read = x509_parser::parse_x509_certificate(block.contents());
    match read {
        Ok((rest, _)) if rest.is_empty() && block.tag() == "CERTIFICATE" => {
            Ok(block.contents().to_vec())
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use std::fs;

    #[test]
    fn only_a_certificate_is_a_simulators_root() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("authority")).unwrap();
        let good = authority.certificate_pem();
        let key = fs::read_to_string(dir.path().join("authority/key.pem")).unwrap();
        let root = dir.path().join("root.pem");
        let text = "[simulated]\nroot = \"root.pem\"";
        let policy = Policy::parse(text, &dir.path().join("policy.toml")).unwrap();
        assert!(policy.files(&[]).is_err(), "it is not there");
        for bad in [
            String::new(),
            "root".to_owned(),
            key,
            format!("{good}{good}"),
        ] {
            fs::write(&root, bad).unwrap();
            assert!(policy.files(&[]).is_err());
        }
        fs::write(&root, good).unwrap();
        assert!(policy.files(&[]).unwrap().simulated_root.is_some());
        assert_eq!(
            Policy::default().files(&[]).unwrap(),
            PolicyFiles::default()
        );
    }
}
