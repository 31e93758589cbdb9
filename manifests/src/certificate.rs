//! What the certificate of a seal must be (FORMAT.md 1.1): narrower than what C2PA lets sign. Not whom it leads to: see `read`.
//!
//! An authority that was given with `--trust` may have signed certificates for much else: for mail, for servers. They must not seal.

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// C2PA claim signing (c2pa-kp-claimSigning), which an authority gives to nobody by accident.
const CLAIM_SIGNING: &str = "1.3.6.1.4.1.62558.2.1";
const ED25519: &str = "1.3.101.112";

/// Why this certificate (DER) may not seal; `None` when it may.
pub(crate) fn unfit(der: &[u8]) -> Option<&'static str> {
    let Ok((rest, cert)) = X509Certificate::from_der(der) else {
        return Some("it cannot be parsed");
    };
    if !rest.is_empty() {
        return Some("bytes follow its end");
    }
    if !is_canonical(der, &cert) {
        return Some("it is not written as DER has it");
    }
    if cert.public_key().algorithm.algorithm.to_id_string() != ED25519 {
        return Some("its key is not Ed25519");
    }
    if !matches!(cert.basic_constraints(), Ok(Some(c)) if !c.value.ca) {
        return Some("it is an authority's");
    }
    if !matches!(cert.key_usage(), Ok(Some(u)) if u.value.digital_signature() && !u.value.key_cert_sign())
    {
        return Some("its key is not for signatures");
    }
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
