//! Collateral: what Intel says about one kind of platform for a month (TCB info, QE identity, CRLs). Chosen by platform and date here; judged in `dcap`.

use dcap_qvl::QuoteCollateralV3;
use serde::Deserialize;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use crate::digest::Sha256;

/// No collateral is longer, in bytes. Today's are 16 to 24 KiB.
pub const MAX_COLLATERAL: u64 = 1 << 20;

/// Why bytes are no collateral.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not collateral as dcap-qvl writes it (JSON): {0}")]
pub struct CollateralError(String);

/// Collateral, read and not believed yet.
#[derive(Debug, Clone)]
pub struct Collateral {
    /// SHA-256 of its bytes, by which it is stored.
    pub name: Sha256,
    /// The kind of platform: family, model, stepping, platform type, custom SKU. Lowercase hex.
    pub fmspc: String,
    /// It is about this TEE: `TDX`.
    pub tee: String,
    /// First and last second (Unix) at which all of it is valid.
    pub window: (u64, u64),
    pub(super) inner: QuoteCollateralV3,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    #[serde(default)]
    id: String,
    fmspc: String,
    issue_date: String,
    next_update: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    issue_date: String,
    next_update: String,
}

impl Collateral {
    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not collateral with dates that can be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, CollateralError> {
        let wrong = |e: &dyn std::fmt::Display| CollateralError(e.to_string());
        if bytes.len() as u64 > MAX_COLLATERAL {
            return Err(wrong(&"too long"));
        }
        let inner: QuoteCollateralV3 = serde_json::from_slice(bytes).map_err(|e| wrong(&e))?;
        let tcb: TcbInfo = serde_json::from_str(&inner.tcb_info).map_err(|e| wrong(&e))?;
        let qe: QeIdentity = serde_json::from_str(&inner.qe_identity).map_err(|e| wrong(&e))?;
        let mut from = 0;
        let mut until = u64::MAX;
        let mut narrow = |first: u64, last: u64| {
            from = from.max(first);
            until = until.min(last);
        };
        for (first, last) in [
            (&tcb.issue_date, &tcb.next_update),
            (&qe.issue_date, &qe.next_update),
        ] {
            narrow(
                seconds(first).ok_or_else(|| wrong(&"a date that cannot be read"))?,
                seconds(last).ok_or_else(|| wrong(&"a date that cannot be read"))?,
            );
        }
        for crl in [&inner.root_ca_crl, &inner.pck_crl] {
            let (_, crl) = CertificateRevocationList::from_der(crl).map_err(|e| wrong(&e))?;
            let next = crl
                .next_update()
                .ok_or_else(|| wrong(&"a CRL without an end"))?;
            narrow(
                crl.last_update().timestamp().try_into().unwrap_or(0),
                next.timestamp().try_into().unwrap_or(0),
            );
        }
        Ok(Self {
            name: Sha256::of(bytes),
            fmspc: tcb.fmspc.to_ascii_lowercase(),
            tee: tcb.id,
            window: (from, until),
            inner,
        })
    }

    /// Whether it is of its time at this second (Unix).
    pub fn valid_at(&self, second: u64) -> bool {
        (self.window.0..=self.window.1).contains(&second)
    }
}

/// RFC 3339 to Unix seconds, not before 1970.
pub(super) fn seconds(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    time.as_second().try_into().ok()
}

/// The kind of platform that a quote comes from, as `Collateral::fmspc` has it; `None` when its certificates cannot be read.
pub fn fmspc_of(quote: &[u8]) -> Option<String> {
    super::dcap::fmspc(quote)
}
