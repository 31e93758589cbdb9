//! A trust domain for the tests of this module: its register lies in a file, its quotes are signed by nobody but itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use atlas_manifests::evidence::Rtmr;
use atlas_manifests::evidence::event::EventDigest;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustix::fs::{FlockOperation, flock};
use sha2::Digest as _;

use super::machine::Machine;

/// What the machine does wrong, once each unless it says otherwise.
#[derive(Default)]
pub(super) struct Faults {
    /// So many quotes are made after somebody else extended RTMR3.
    pub(super) foreign: usize,
    /// The next extension is said to have failed, after it was made.
    pub(super) extended_and_failed: bool,
    /// The next extension is said to have failed, and was not made.
    pub(super) not_extended: bool,
    /// The next extension is said to have worked, and was not made.
    pub(super) swallowed: bool,
    /// Somebody else extends RTMR3 just before the next extension.
    pub(super) overtaken: bool,
    /// The next quote fails.
    pub(super) no_quote: bool,
    /// The next quote is about other bytes.
    pub(super) other_data: bool,
    /// The next quote has this byte of its signed part changed.
    pub(super) flipped: Option<usize>,
    /// The next quote shows RTMR3 as zero.
    pub(super) stale: bool,
}

/// Signs quotes. Made once: keys take their time.
struct Signer {
    key: EcdsaKeyPair,
    /// QE report, its signature, and the certificate of the key that made it.
    endorsement: Vec<u8>,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let rng = SystemRandom::new();
    let read = |document: &[u8]| {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &rng).unwrap()
    };
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let key = read(document.as_ref());
    let pck = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&pck).unwrap();
    let auth = [7; 32];
    let mut hash = sha2::Sha256::new_with_prefix(&key.public_key().as_ref()[1..]);
    hash.update(auth);
    let mut report = vec![0; 384];
    report[320..352].copy_from_slice(&hash.finalize());
    let signature = read(&pck.serialize_der()).sign(&rng, &report).unwrap();
    let pem = certificate.pem();
    let mut endorsement = report;
    endorsement.extend(signature.as_ref());
    endorsement.extend((auth.len() as u16).to_le_bytes());
    endorsement.extend(auth);
    endorsement.extend(5u16.to_le_bytes());
    endorsement.extend((pem.len() as u32).to_le_bytes());
    endorsement.extend(pem.as_bytes());
    Signer { key, endorsement }
});

/// A trust domain.
pub(super) struct FakeTd {
    register: PathBuf,
    pub(super) ccel: Option<Vec<u8>>,
    pub(super) faults: Mutex<Faults>,
    pub(super) quotes: Mutex<usize>,
}

impl FakeTd {
    /// With its register in this directory, which others may share.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            register: dir.join("rtmr3"),
            ccel: None,
            faults: Mutex::default(),
            quotes: Mutex::new(0),
        }
    }

    pub(super) fn now(&self) -> Rtmr {
        self.rtmr3().unwrap().unwrap()
    }

    pub(super) fn set(&self, value: Rtmr) {
        self.put(value).unwrap();
    }

    /// As one step: hardware does not stop in the middle, whoever is killed.
    fn put(&self, value: Rtmr) -> io::Result<()> {
        let draft = self.register.with_extension("new");
        fs::write(&draft, value.0)?;
        fs::rename(draft, &self.register)
    }

    /// Somebody who is no daemon of ours extends RTMR3.
    pub(super) fn foreign(&self) {
        self.really(&EventDigest([9; 48])).unwrap();
    }

    fn really(&self, digest: &EventDigest) -> io::Result<()> {
        let dir = fs::File::open(self.register.parent().unwrap())?;
        flock(&dir, FlockOperation::LockExclusive)?;
        self.put(self.now().extended(digest))
    }

    fn sign(rtmr3: Rtmr, report_data: &[u8; 64], faults: &mut Faults) -> Vec<u8> {
        let mut quote = vec![0; 48 + 584];
        quote[..8].copy_from_slice(&[4, 0, 2, 0, 0x81, 0, 0, 0]);
        quote[48 + 472..48 + 520].copy_from_slice(&rtmr3.0);
        quote[48 + 520..].copy_from_slice(report_data);
        let signer = &*SIGNER;
        let signature = signer.key.sign(&SystemRandom::new(), &quote).unwrap();
        if let Some(at) = faults.flipped.take() {
            quote[at] ^= 1;
        }
        let mut tail = signature.as_ref().to_vec();
        tail.extend(&signer.key.public_key().as_ref()[1..]);
        tail.extend(6u16.to_le_bytes());
        tail.extend((signer.endorsement.len() as u32).to_le_bytes());
        tail.extend(&signer.endorsement);
        quote.extend((tail.len() as u32).to_le_bytes());
        quote.extend(tail);
        // As clouds do.
        quote.resize(8000, 0);
        quote
    }
}

impl Machine for FakeTd {
    fn quote(&self, report_data: &[u8; 64], _: Duration) -> Result<Vec<u8>, String> {
        *self.quotes.lock().unwrap() += 1;
        let faults = &mut *self.faults.lock().unwrap();
        if std::mem::take(&mut faults.no_quote) {
            return Err("the host gave none within 30 s".to_owned());
        }
        if faults.foreign > 0 {
            faults.foreign -= 1;
            self.foreign();
        }
        let data = if std::mem::take(&mut faults.other_data) {
            &[1; 64]
        } else {
            report_data
        };
        let rtmr3 = if std::mem::take(&mut faults.stale) {
            Rtmr::ZERO
        } else {
            self.now()
        };
        Ok(Self::sign(rtmr3, data, faults))
    }

    fn rtmr3(&self) -> io::Result<Option<Rtmr>> {
        match fs::read(&self.register) {
            Ok(bytes) => bytes
                .try_into()
                .map(|b| Some(Rtmr(b)))
                .map_err(|_| io::Error::other("not 48 bytes")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(Rtmr::ZERO)),
            Err(e) => Err(e),
        }
    }

    fn extend(&self, digest: &EventDigest) -> io::Result<()> {
        let faults = &mut *self.faults.lock().unwrap();
        if std::mem::take(&mut faults.overtaken) {
            self.foreign();
        }
        if std::mem::take(&mut faults.not_extended) {
            return Err(io::Error::other("no"));
        }
        if std::mem::take(&mut faults.swallowed) {
            return Ok(());
        }
        self.really(digest)?;
        if std::mem::take(&mut faults.extended_and_failed) {
            return Err(io::Error::other("no"));
        }
        Ok(())
    }

    fn ccel(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.ccel.clone())
    }

    fn genuine(&self) -> bool {
        false
    }
}

/// A trust domain whose kernel shows no RTMR3.
pub(super) struct OldKernel(pub(super) FakeTd);

impl Machine for OldKernel {
    fn quote(&self, report_data: &[u8; 64], within: Duration) -> Result<Vec<u8>, String> {
        self.0.quote(report_data, within)
    }

    fn rtmr3(&self) -> io::Result<Option<Rtmr>> {
        Ok(None)
    }

    fn extend(&self, _: &EventDigest) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn ccel(&self) -> io::Result<Option<Vec<u8>>> {
        self.0.ccel()
    }

    fn genuine(&self) -> bool {
        true
    }
}

/// Collateral with these dates (Unix seconds), signed by nobody.
pub(super) fn collateral(fmspc: &str, tee: &str, from: u64, until: u64) -> Vec<u8> {
    let time = |second: u64| {
        jiff::Timestamp::from_second(second.cast_signed())
            .unwrap()
            .to_string()
    };
    let day = |year| rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let crl = CertificateRevocationListParams {
        this_update: day(1970),
        next_update: day(2049),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let crl = crl.signed_by(&Issuer::new(ca, key)).unwrap();
    let crl: String = crl.der().iter().map(|b| format!("{b:02x}")).collect();
    let dates = format!(
        r#""issueDate":"{}","nextUpdate":"{}""#,
        time(from),
        time(until)
    );
    serde_json::json!({
        "pck_crl_issuer_chain": "", "root_ca_crl": crl, "pck_crl": crl,
        "tcb_info_issuer_chain": "", "tcb_info_signature": "",
        "tcb_info": format!(r#"{{"id":"{tee}","fmspc":"{fmspc}",{dates}}}"#),
        "qe_identity_issuer_chain": "", "qe_identity_signature": "",
        "qe_identity": format!("{{{dates}}}"),
    })
    .to_string()
    .into_bytes()
}
