//! A TDX quote taken apart by offset (Intel DCAP, versions 4 and 5), and whether it is signed by itself. Not whether Intel vouches for it: see `dcap`.

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use sha2::Digest as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::event::Rtmr;

/// Bytes before the body, of all versions.
const HEADER: usize = 48;
/// `tee_type` of TDX.
const TDX: u32 = 0x81;
/// Certification data that holds a QE report, and inside of it a chain of certificates in PEM.
const QE_REPORT: u16 = 6;
const PEM_CHAIN: u16 = 5;
/// Bytes of an SGX enclave report.
const ENCLAVE_REPORT: usize = 384;

/// TD attribute bits that a verifier looks at by name (Intel TDX module specification, TD_ATTRIBUTES).
pub mod attribute {
    /// The host may look into the TD.
    pub const DEBUG: u64 = 1;
    /// The rest of the TUD group: profiling, and what is reserved there.
    pub const UNTRUSTED: u64 = 0xfe;
    /// The TD does not see EPT violations that the host could provoke.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// Another TD may move it.
    pub const MIGRATABLE: u64 = 1 << 29;
}

/// Why bytes are no quote that is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a TDX quote that is known: {0}")]
pub struct QuoteError(pub(super) String);

/// A quote. Nothing in it is believed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote<'a> {
    /// Exactly the quote, without what follows it: clouds pad.
    pub bytes: &'a [u8],
    /// 4 or 5.
    pub version: u16,
    body: &'a [u8],
    signed: &'a [u8],
    signature: Signatures<'a>,
}

/// What follows the body: each part signs or certifies the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signatures<'a> {
    signature: &'a [u8],
    key: &'a [u8],
    report: &'a [u8],
    report_signature: &'a [u8],
    auth: &'a [u8],
    chain: &'a [u8],
}

impl<'a> Signatures<'a> {
    /// Nothing may be left over: each byte has one meaning.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut all = Rest(bytes);
        let (signature, key) = (all.take(64)?, all.take(64)?);
        let mut data = Rest(all.data(QE_REPORT)?);
        let (report, report_signature) = (data.take(ENCLAVE_REPORT)?, data.take(64)?);
        let size = data.take(2)?;
        let auth = data.take(u16::from_le_bytes(size.try_into().ok()?).into())?;
        let chain = data.data(PEM_CHAIN)?;
        (all.0.is_empty() && data.0.is_empty()).then_some(Self {
            signature,
            key,
            report,
            report_signature,
            auth,
            chain,
        })
    }
}

impl<'a> Quote<'a> {
    /// Takes untrusted bytes apart.
    ///
    /// # Errors
    /// Another version, another TEE, another key type, or lengths that do not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        let wrong = |what: &str| QuoteError(what.to_owned());
        let short = || wrong("it is cut short");
        let version = u16::from_le_bytes(at(bytes, 0).ok_or_else(short)?);
        let key_type = u16::from_le_bytes(at(bytes, 2).ok_or_else(short)?);
        let tee = u32::from_le_bytes(at(bytes, 4).ok_or_else(short)?);
        let (start, length) = match version {
            4 => (HEADER, 584),
            5 => {
                let kind = u16::from_le_bytes(at(bytes, HEADER).ok_or_else(short)?);
                let size = u32::from_le_bytes(at(bytes, HEADER + 2).ok_or_else(short)?);
                let length = match kind {
                    2 => 584,
                    3 => 648,
                    4 => 885,
                    other => {
                        return Err(QuoteError(format!(
                            "its body is of type {other}, not 2, 3 or 4"
                        )));
                    }
                };
                if size as usize != length {
                    return Err(wrong("its body is not as long as its type says"));
                }
                (HEADER + 6, length)
            }
            other => {
                return Err(QuoteError(format!("version {other}, not 4 or 5")));
            }
        };
        if tee != TDX {
            return Err(QuoteError(format!("TEE type {tee:#x}, not TDX")));
        }
        if key_type != 2 {
            return Err(QuoteError(format!(
                "attestation key type {key_type}, not 2 (ECDSA P-256)"
            )));
        }
        let end = start + length;
        let body = bytes.get(start..end).ok_or_else(short)?;
        let signed = &bytes[..end];
        let size = u32::from_le_bytes(at(bytes, end).ok_or_else(short)?) as usize;
        let from = end + 4;
        let until = from.checked_add(size).ok_or_else(short)?;
        let signature =
            Signatures::parse(bytes.get(from..until).ok_or_else(short)?).ok_or_else(|| {
                wrong("its signatures and certificates are not laid out as Intel has them")
            })?;
        Ok(Self {
            bytes: &bytes[..until],
            version,
            body,
            signed,
            signature,
        })
    }

    fn register(&self, offset: usize) -> Rtmr {
        // Every body is longer than the last offset that is asked for.
        Rtmr(at(self.body, offset).unwrap_or([0; 48]))
    }

    /// TD attributes.
    pub fn attributes(&self) -> u64 {
        u64::from_le_bytes(at(self.body, 120).unwrap_or_default())
    }

    /// Extended features mask.
    pub fn xfam(&self) -> u64 {
        u64::from_le_bytes(at(self.body, 128).unwrap_or_default())
    }

    /// What was loaded at first.
    pub fn mrtd(&self) -> Rtmr {
        self.register(136)
    }

    /// What the host says that the TD is configured as.
    pub fn mrconfigid(&self) -> Rtmr {
        self.register(184)
    }

    /// Whose TD it is, as the host says.
    pub fn mrowner(&self) -> Rtmr {
        self.register(232)
    }

    /// The owner's configuration, as the host says.
    pub fn mrownerconfig(&self) -> Rtmr {
        self.register(280)
    }

    /// A runtime measurement register, 0 to 3.
    pub fn rtmr(&self, index: usize) -> Rtmr {
        self.register(328 + 48 * index.min(3))
    }

    /// What was asked for.
    pub fn report_data(&self) -> [u8; 64] {
        at(self.body, 520).unwrap_or([0; 64])
    }

    /// Whether its signatures fit each other: attestation key over header and body, QE report over that key, PCK over the QE report. Anybody
    /// can make such a quote; one that is not even that is damaged.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn consistent(&self) -> Result<(), QuoteError> {
        let wrong = |what: &str| QuoteError(what.to_owned());
        let Signatures {
            signature,
            key,
            report,
            report_signature,
            auth,
            chain,
        } = self.signature;
        let point = [&[4][..], key].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
            .verify(self.signed, signature)
            .map_err(|_| wrong("its attestation key did not sign it"))?;
        let mut hash = sha2::Sha256::new_with_prefix(key);
        hash.update(auth);
        if report[320..352] != hash.finalize()[..] || report[352..] != [0; 32] {
            return Err(wrong("its QE report is not about its attestation key"));
        }
        let first = pem::parse(first_pem(chain)).map_err(|_| wrong("its chain is not PEM"))?;
        let (_, pck) = X509Certificate::from_der(first.contents())
            .map_err(|_| wrong("its first certificate cannot be parsed"))?;
        let pck = &pck.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pck)
            .verify(report, report_signature)
            .map_err(|_| wrong("its PCK certificate's key did not sign its QE report"))
    }
}

impl Quote<'_> {
    /// The certificate at the root of the chain that it carries, in DER. What it leads to is for `dcap`.
    pub(super) fn root(&self) -> Option<Vec<u8>> {
        let all = pem::parse_many(self.signature.chain).ok()?;
        all.into_iter().next_back().map(pem::Pem::into_contents)
    }
}

/// The text up to and with the first end line: `pem` would parse the first one of several, but says nothing of where it ends.
fn first_pem(chain: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let end = chain.windows(END.len()).position(|w| w == END);
    end.map_or(chain, |at| &chain[..at + END.len()])
}

/// Fixed bytes at an offset.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// Certification data of the wanted type.
    fn data(&mut self, wanted: u16) -> Option<&'a [u8]> {
        let kind = self.take(2)?;
        let size = self.take(4)?;
        let size = u32::from_le_bytes(size.try_into().ok()?);
        (u16::from_le_bytes(kind.try_into().ok()?) == wanted)
            .then(|| self.take(size as usize))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lengths_that_lie_end_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..900), version in 3u16..7, kind in 0u16..6, size: u32) {
            let mut quote = bytes;
            let head = [&version.to_le_bytes()[..], &2u16.to_le_bytes(), &TDX.to_le_bytes()].concat();
            for (at, byte) in head.into_iter().enumerate() {
                if let Some(b) = quote.get_mut(at) {
                    *b = byte;
                }
            }
            if let Some(place) = quote.get_mut(HEADER..HEADER + 6) {
                place[..2].copy_from_slice(&kind.to_le_bytes());
                place[2..].copy_from_slice(&size.to_le_bytes());
            }
            if let Ok(read) = Quote::parse(&quote) {
                let _ = read.consistent();
                prop_assert!(read.bytes.len() <= quote.len());
            }
        }
    }
}
