//! Which authorities a verifier trusts: certificates pinned outside the data, or given. Never one that lies beside the data.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::digest::Sha256;
use crate::durable::{make_dir, write_durably};
use crate::given;

/// Where root pins authorities for everybody on the machine.
pub const SYSTEM_DIR: &str = "/etc/atlas/trust";
/// No certificate file is larger, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate cannot be an anchor.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Reading or writing failed.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what an anchor must be.
    #[error("{path:?} {problem}: give the PEM file of an authority's certificate")]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `remove` found none, or more than one.
    #[error("{0}")]
    NotFound(String),
}

/// One trusted certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// SHA-256 of the certificate (DER).
    pub fingerprint: Sha256,
    /// The subject, as X.509 writes it. Untrusted text: escape it before a terminal sees it.
    pub name: String,
    /// First second of validity, RFC 3339, UTC.
    pub not_before: String,
    /// Last second of validity, RFC 3339, UTC.
    pub not_after: String,
    /// The file it was read from.
    pub file: PathBuf,
}

/// The certificates that a verdict may rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors {
    /// All of them, concatenated, as `read::read` wants them.
    pub pem: String,
    /// What they are.
    pub anchors: Vec<Anchor>,
}

impl Anchors {
    /// No trust in anybody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads every `*.pem` of the directories, and the files given. A missing directory is an empty one; a file that is not an
    /// authority's certificate is an error, so that a verdict never rests on less than the person believes.
    pub fn load(dirs: &[PathBuf], files: &[PathBuf]) -> Result<Self, TrustError> {
        let mut all = Self::default();
        for dir in dirs {
            for file in given::pinned(dir, "pem").map_err(io_error(dir))? {
                all.push(&file)?;
            }
        }
        for file in files {
            all.push(file)?;
        }
        Ok(all)
    }

    /// From PEM text at hand, for example the authority that a daemon has just made.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let mut all = Self::default();
        all.push_text(Path::new("(given)"), pem)?;
        Ok(all)
    }

    fn push(&mut self, file: &Path) -> Result<(), TrustError> {
        let text = read_text(file)?;
        self.push_text(file, &text)
    }

    fn push_text(&mut self, file: &Path, text: &str) -> Result<(), TrustError> {
        for (anchor, pem) in parse(file, text)? {
            if self
                .anchors
                .iter()
                .all(|a| a.fingerprint != anchor.fingerprint)
            {
                self.pem.push_str(&pem);
                self.anchors.push(anchor);
            }
        }
        Ok(())
    }
}

/// The directories that are looked into when nothing else is said: the machine's, then the user's.
pub fn default_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from(SYSTEM_DIR)];
    dirs.extend(user_dir());
    dirs
}

/// `~/.config/atlas/trust`; `None` without a home.
pub fn user_dir() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|h| h.join(".config")))
        .map(|c| c.join("atlas/trust"))
}

/// Pins every authority in `file` in `dir`, under its fingerprint. Pinning one twice changes nothing.
pub fn add(dir: &Path, file: &Path) -> Result<Vec<Anchor>, TrustError> {
    add_pem(dir, file, &read_text(file)?)
}

/// As `add`, of text at hand; `origin` is named in errors.
pub fn add_pem(dir: &Path, origin: &Path, text: &str) -> Result<Vec<Anchor>, TrustError> {
    let found = parse(origin, text)?;
    make_dir(dir, 0o755).map_err(io_error(dir))?;
    let mut added = Vec::with_capacity(found.len());
    for (mut anchor, pem) in found {
        let to = dir.join(format!("{}.pem", anchor.fingerprint.hex()));
        write_durably(&to, pem.as_bytes(), 0o644).map_err(io_error(&to))?;
        anchor.file = to;
        added.push(anchor);
    }
    Ok(added)
}

/// Takes the pin away from `dir`. `which` is a fingerprint, or at least 8 hex digits of one, with or without `sha256:`.
pub fn remove(dir: &Path, which: &str) -> Result<Anchor, TrustError> {
    let hex = which.strip_prefix("sha256:").unwrap_or(which);
    if hex.len() < 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(TrustError::NotFound(format!(
            "{which:?} is not a fingerprint: give at least 8 of its hex digits (see `atlasctl trust list`)"
        )));
    }
    let hex = hex.to_ascii_lowercase();
    let all = Anchors::load(&[dir.to_owned()], &[])?.anchors;
    let mut found = all
        .into_iter()
        .filter(|a| a.fingerprint.hex().starts_with(&hex));
    match (found.next(), found.next()) {
        (Some(anchor), None) => {
            fs::remove_file(&anchor.file).map_err(io_error(&anchor.file))?;
            Ok(anchor)
        }
        (None, _) => Err(TrustError::NotFound(format!(
            "no authority {which} in {dir:?}: see `atlasctl trust list`"
        ))),
        (Some(_), Some(_)) => Err(TrustError::NotFound(format!(
            "{which} names several authorities in {dir:?}: give more digits"
        ))),
    }
}

fn read_text(file: &Path) -> Result<String, TrustError> {
    let mut text = String::new();
    let read = |text: &mut String| -> io::Result<bool> {
        let opened = fs::File::open(file)?;
        let regular = opened.metadata()?.is_file();
        opened.take(MAX_FILE).read_to_string(text)?;
        Ok(regular)
    };
    match read(&mut text) {
        Ok(true) => Ok(text),
        Ok(false) => Err(unfit(file, "is not a regular file")),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(unfit(file, "is not PEM")),
        Err(e) => Err(io_error(file)(e)),
    }
}

/// Every certificate in the text with its own PEM. One that is not an authority's is refused, and so is any other kind of block:
/// a private key must never be copied into a directory that everybody reads.
fn parse(file: &Path, text: &str) -> Result<Vec<(Anchor, String)>, TrustError> {
    let blocks = pem::parse_many(text).map_err(|_| unfit(file, "is not PEM"))?;
    if blocks.is_empty() {
        return Err(unfit(file, "holds no certificate"));
    }
    blocks
        .iter()
        .map(|block| {
            if block.tag() != "CERTIFICATE" {
                return Err(unfit(file, "holds something else than certificates"));
            }
            let der = block.contents();
            let (rest, cert) = X509Certificate::from_der(der)
                .map_err(|_| unfit(file, "holds a certificate that cannot be parsed"))?;
            if !rest.is_empty() {
                return Err(unfit(file, "holds a certificate with bytes after its end"));
            }
            let constraints = cert.basic_constraints();
            if !matches!(constraints, Ok(Some(c)) if c.value.ca) {
                return Err(unfit(
                    file,
                    "holds a certificate that is not an authority's",
                ));
            }
            let anchor = Anchor {
                fingerprint: Sha256::of(der),
                name: cert.subject().to_string(),
                not_before: time(cert.validity().not_before.timestamp()),
                not_after: time(cert.validity().not_after.timestamp()),
                file: file.to_owned(),
            };
            let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
            Ok((anchor, pem::encode_config(block, config)))
        })
        .collect()
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "(out of range)".to_owned(), |t| t.to_string())
}

fn unfit(path: &Path, problem: &str) -> TrustError {
    TrustError::Unfit {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TrustError + '_ {
    move |source| TrustError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::id::InstanceId;

    #[test]
    fn only_an_authority_can_be_pinned_and_it_can_be_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let trust = dir.path().join("trust");
        let authority = Authority::create(&dir.path().join("authority")).unwrap();
        let leaf = authority.issue(InstanceId([1; 16])).unwrap().chain()[0].clone();
        let leaf = pem::encode(&pem::Pem::new("CERTIFICATE", leaf));
        let key = fs::read_to_string(dir.path().join("authority/key.pem")).unwrap();
        for bad in [
            "",
            "garbage",
            &leaf,
            &key,
            &format!("{}{key}", authority.certificate_pem()),
        ] {
            let file = dir.path().join("bad.pem");
            fs::write(&file, bad).unwrap();
            assert!(
                matches!(add(&trust, &file), Err(TrustError::Unfit { .. })),
                "{bad}"
            );
        }
        assert!(!trust.exists(), "nothing was changed");
        let file = dir.path().join("good.pem");
        fs::write(&file, authority.certificate_pem()).unwrap();
        add(&trust, &file).unwrap();
        add(&trust, &file).unwrap();
        let all = Anchors::load(std::slice::from_ref(&trust), &[file]).unwrap();
        assert_eq!(all.anchors.len(), 1);
        assert_eq!(all.anchors[0].fingerprint, authority.fingerprint());
        remove(&trust, &all.anchors[0].fingerprint.to_string()).unwrap();
        assert!(Anchors::load(&[trust], &[]).unwrap().anchors.is_empty());
    }
}
