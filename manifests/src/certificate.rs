//! What the certificate of a seal must be (FORMAT.md 1.1): narrower than what C2PA lets sign. Not whom it leads to: see `read`.
//!
//! An authority that was given with `--trust` may have signed certificates for much else: for mail, for servers. They must not seal.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::cbor::Writer;
use crate::digest::Sha256;

/// C2PA claim signing (c2pa-kp-claimSigning), which an authority gives to nobody by accident.
const CLAIM_SIGNING: &str = "1.3.6.1.4.1.62558.2.1";
const ED25519: &str = "1.3.101.112";
/// RATS conceptual message wrapper in a certificate (RFC 9999, id-pe-cmw).
const CMW: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 35];
/// A CMW record: media type, value, and that it is about evidence. The value is the digest of a binding.
const CMW_TYPE: &str = "application/vnd.atlas.binding-digest";
/// `ind` of a CMW record: bit 2, evidence.
const CMW_EVIDENCE: u64 = 4;

/// Why this certificate (DER) may not seal; `None` when it may.
pub(crate) fn unfit(der: &[u8]) -> Option<&'static str> {
    let cert = match sound(der) {
        Ok(cert) => cert,
        Err(why) => return Some(why),
    };
    match cert.extended_key_usage() {
        Ok(Some(u))
            if u.value.email_protection
                && u.value
                    .other
                    .iter()
                    .any(|o| o.to_id_string() == CLAIM_SIGNING) =>
        {
            None
        }
        _ => Some("it was made for another use"),
    }
}

/// The certificate (DER), when it is what that of any key of ours that signs must be.
pub(crate) fn sound(der: &[u8]) -> Result<X509Certificate<'_>, &'static str> {
    let Ok((rest, cert)) = X509Certificate::from_der(der) else {
        return Err("it cannot be parsed");
    };
    if !rest.is_empty() {
        return Err("bytes follow its end");
    }
    if !is_canonical(der, &cert) {
        return Err("it is not written as DER has it");
    }
    if cert.public_key().algorithm.algorithm.to_id_string() != ED25519 {
        return Err("its key is not Ed25519");
    }
    if !matches!(cert.basic_constraints(), Ok(Some(c)) if !c.value.ca) {
        return Err("it is an authority's");
    }
    if !matches!(cert.key_usage(), Ok(Some(u)) if u.value.digital_signature() && !u.value.key_cert_sign())
    {
        return Err("its key is not for signatures");
    }
    Ok(cert)
}

/// The Ed25519 key of a certificate.
pub(crate) fn ed25519(cert: &X509Certificate<'_>) -> Option<[u8; 32]> {
    let key = cert.public_key();
    let is = key.algorithm.algorithm.to_id_string() == ED25519;
    let bytes: &[u8] = &key.subject_public_key.data;
    bytes.try_into().ok().filter(|_| is)
}

/// Whether this authority (DER) signed the certificate. Only an Ed25519 authority, as ours are.
pub(crate) fn signed_by(cert: &X509Certificate<'_>, authority: &[u8]) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else {
        return false;
    };
    let signature = <&[u8; 64]>::try_from(&*cert.signature_value.data);
    let (Some(public), Ok(signature)) = (ed25519(&authority), signature) else {
        return false;
    };
    cert.issuer().as_raw() == authority.subject().as_raw()
        && cert.signature_algorithm.algorithm.to_id_string() == ED25519
        && ed25519_dalek::VerifyingKey::from_bytes(&public).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(signature);
            key.verify_strict(cert.tbs_certificate.as_ref(), &signature)
                .is_ok()
        })
}

/// The object identifier and the content of the extension that names evidence: an OCTET STRING with a CMW record in CBOR.
pub(crate) fn evidence_extension(evidence: &Sha256) -> (&'static [u64], Vec<u8>) {
    let mut w = Writer::default();
    w.array(3);
    w.text(CMW_TYPE);
    w.bytes(&evidence.0);
    w.uint(CMW_EVIDENCE);
    (CMW, tlv(0x04, &w.0))
}

/// The evidence that a certificate (DER) names; `None` when it names none.
///
/// # Errors
/// The extension is there and is not as we write it: whoever wrote it means something that we do not know.
pub(crate) fn evidence(der: &[u8]) -> Result<Option<Sha256>, &'static str> {
    let wrong = "it names evidence in a way that is not known";
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| "it cannot be parsed")?;
    let mut found = None;
    for extension in cert.extensions() {
        let is = extension
            .oid
            .iter()
            .is_some_and(|arcs| arcs.eq(CMW.iter().copied()));
        if !is {
            continue;
        }
        let name = extension.value.len().checked_sub(33).and_then(|at| {
            let bytes: [u8; 32] = extension.value.get(at..at + 32)?.try_into().ok()?;
            Some(Sha256(bytes))
        });
        let name = name.filter(|n| evidence_extension(n).1 == extension.value);
        if found.replace(name.ok_or(wrong)?).is_some() {
            return Err(wrong);
        }
    }
    Ok(found)
}

/// SHA-256 of its key's SubjectPublicKeyInfo.
pub(crate) fn key(der: &[u8]) -> Option<Sha256> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    Some(Sha256::of(cert.public_key().raw))
}

/// The signature covers the inner part only. What is around it has one right form, so that one certificate has one digest.
fn is_canonical(der: &[u8], cert: &X509Certificate<'_>) -> bool {
    let signed: &[u8] = cert.tbs_certificate.as_ref();
    let signature = tlv(0x03, &[&[0], &*cert.signature_value.data].concat());
    let after = (signed.as_ptr() as usize).wrapping_sub(der.as_ptr() as usize) + signed.len();
    let Some(algorithm) = der.get(after..der.len().saturating_sub(signature.len())) else {
        return false;
    };
    der == tlv(0x30, &[signed, algorithm, &signature].concat())
        && cert.signature_algorithm == cert.tbs_certificate.signature
        && signed
            .windows(algorithm.len().max(1))
            .any(|w| w == algorithm)
}

/// Tag, length and content, in DER (X.690, 8.1.3 and 10.1).
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|b| **b == 0).count()..];
    let mut out = vec![tag];
    match significant {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend(long);
        }
    }
    out.extend(content);
    out
}
