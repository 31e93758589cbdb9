//! Signed quotes of a simulated guest. Not where a guest gets one: see `machine`; and nothing is verified here.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use sha2::{Digest as _, Sha256};

use crate::pki::{CPU_SVN, World};
use crate::td::Td;

/// Intel's quoting enclave, which verifiers demand by this number.
const QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// ECDSA on P-256.
const KEY_TYPE: u16 = 2;
/// TDX, as opposed to SGX.
const TEE_TYPE: u32 = 0x81;
/// Certification data: a report of the quoting enclave with certification data of its own.
const QE_REPORT: u16 = 6;
/// Certification data: the PCK chain as PEM.
const PCK_CHAIN: u16 = 5;

/// The signer of the simulated quoting enclave.
pub(crate) const QE_SIGNER: [u8; 32] = [0xdc; 32];
/// Its product and security version.
pub(crate) const QE_PRODUCT: u16 = 2;
/// See [`QE_PRODUCT`].
pub(crate) const QE_SVN: u16 = 4;

/// Which format a quote has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Version 4, body of TDX 1.0.
    V4,
    /// Version 5, body of TDX 1.0.
    V5Td10,
    /// Version 5, body of TDX 1.5.
    V5Td15,
    /// Version 5, body of TDX 1.5 with the instance's number and devices.
    V5Td15ex,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15ex];

    /// As a flag spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V5Td10 => "v5",
            Self::V5Td15 => "v5td15",
            Self::V5Td15ex => "v5td15ex",
        }
    }

    /// Where the body begins: behind the header, and in version 5 behind what says which body it is.
    pub const fn body_offset(self) -> usize {
        match self {
            Self::V4 => 48,
            _ => 54,
        }
    }

    /// Kind and length of the body, as version 5 writes them.
    const fn body(self) -> (u16, u32) {
        match self {
            Self::V4 | Self::V5Td10 => (2, 584),
            Self::V5Td15 => (3, 648),
            Self::V5Td15ex => (4, 885),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|shape| shape.word() == text) {
            Some(shape) => Ok(shape),
            None => bail!("{text:?} is no shape of a quote: v4, v5, v5td15, v5td15ex"),
        }
    }
}

impl World {
    /// A quote that this guest gets for these 64 bytes.
    pub fn quote(&self, shape: Shape, td: &Td, report_data: &[u8; 64]) -> Result<Vec<u8>> {
        let mut quote = header(shape);
        quote.extend(body(shape, td, report_data));
        let signature = self.attestation_key().sign(&quote)?;

        let certification = self.certification()?;
        let mut signed = signature;
        signed.extend(self.attestation_key().point());
        section(&mut signed, QE_REPORT, &certification);
        quote.extend((signed.len() as u32).to_le_bytes());
        quote.extend(signed);
        Ok(quote)
    }

    /// Why the attestation key is to be believed: the quoting enclave's report about it, and the chain behind that report.
    fn certification(&self) -> Result<Vec<u8>> {
        // Verifiers want exactly 32 bytes of it.
        let auth = [0u8; 32];
        let mut hash = Sha256::new();
        hash.update(self.attestation_key().point());
        hash.update(auth);

        let mut report = [0u8; 384];
        report[..16].copy_from_slice(&CPU_SVN);
        // Attributes: initialised, 64 bits, provisioning key.
        report[48] = 0x11;
        report[64..96].fill(0xe0);
        report[128..160].copy_from_slice(&QE_SIGNER);
        report[256..258].copy_from_slice(&QE_PRODUCT.to_le_bytes());
        report[258..260].copy_from_slice(&QE_SVN.to_le_bytes());
        report[320..352].copy_from_slice(&hash.finalize());

        let mut out = report.to_vec();
        out.extend(self.pck_key().sign(&report)?);
        out.extend((auth.len() as u16).to_le_bytes());
        out.extend(auth);
        section(&mut out, PCK_CHAIN, self.pck_chain().as_bytes());
        Ok(out)
    }
}

fn section(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    out.extend(kind.to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
}

fn header(shape: Shape) -> Vec<u8> {
    let version: u16 = if shape == Shape::V4 { 4 } else { 5 };
    let mut out = Vec::with_capacity(6 * 1024);
    out.extend(version.to_le_bytes());
    out.extend(KEY_TYPE.to_le_bytes());
    out.extend(TEE_TYPE.to_le_bytes());
    // Versions of the enclaves, which TDX leaves at zero.
    out.extend([0; 4]);
    out.extend(QE_VENDOR);
    out.extend([0; 20]);
    if shape != Shape::V4 {
        let (kind, length) = shape.body();
        out.extend(kind.to_le_bytes());
        out.extend(length.to_le_bytes());
    }
    out
}

fn body(shape: Shape, td: &Td, report_data: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(885);
    out.extend(td.tee_tcb_svn);
    out.extend(td.mr_seam);
    // Signer and attributes of the TDX module: zero for Intel's own.
    out.extend([0; 48 + 8]);
    out.extend(td.attributes.to_le_bytes());
    out.extend(td.xfam.to_le_bytes());
    out.extend(td.mrtd);
    out.extend(td.mrconfigid);
    out.extend(td.mrowner);
    out.extend(td.mrownerconfig);
    out.extend(td.rtmr.as_flattened());
    out.extend(report_data);
    if matches!(shape, Shape::V5Td15 | Shape::V5Td15ex) {
        // The module was not updated while the guest ran.
        out.extend(td.tee_tcb_svn);
        out.extend(td.mr_servicetd);
    }
    if shape == Shape::V5Td15ex {
        // Not partitioned; instance; no devices.
        out.push(0);
        out.extend(td.td_id);
        out.extend([0; 48]);
        // Service guests and platform at creation, which the module leaves at zero for a guest without service guests.
        out.resize(shape.body().1 as usize, 0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_has_the_length_that_its_format_says() {
        for shape in Shape::ALL {
            let length = body(shape, &Td::default(), &[1; 64]).len();
            assert_eq!(length, shape.body().1 as usize, "{shape}");
        }
    }
}
