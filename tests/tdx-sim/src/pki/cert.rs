//! What the certificates say, in the shape of Intel's. Not their keys, and nothing is signed here.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName,
    DnType, IsCa, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;

use super::{SIMULATED, sgx};

const DAY: i64 = 86_400;

pub(super) fn root(now: i64) -> Result<CertificateParams> {
    authority("Intel SGX Root CA", 1, now)
}

pub(super) fn platform(now: i64) -> Result<CertificateParams> {
    authority("Intel SGX PCK Platform CA", 0, now)
}

/// go-tdx-guest wants six extensions: authority and subject key identifiers, key usage, basic constraints, revocation list, SGX.
pub(super) fn pck(now: i64, serial: SerialNumber, extension: Vec<u8>) -> Result<CertificateParams> {
    let mut params = leaf("Intel SGX PCK Certificate", now)?;
    params.serial_number = Some(serial);
    params.custom_extensions = vec![CustomExtension::from_oid_content(sgx::OID, extension)];
    Ok(params)
}

pub(super) fn tcb(now: i64) -> Result<CertificateParams> {
    leaf("Intel SGX TCB Signing", now)
}

fn authority(name: &str, below: u8, now: i64) -> Result<CertificateParams> {
    let mut params = params(name, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(name: &str, now: i64) -> Result<CertificateParams> {
    let mut params = params(name, now)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
    ];
    Ok(params)
}

fn params(name: &str, now: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject.push(DnType::OrganizationName, "Intel Corporation");
    subject.push(DnType::OrganizationalUnitName, SIMULATED);
    subject.push(DnType::LocalityName, "Santa Clara");
    subject.push(DnType::StateOrProvinceName, "CA");
    subject.push(DnType::CountryName, "US");
    params.distinguished_name = subject;
    params.not_before = moment(now - 10 * DAY)?;
    params.not_after = moment(now + 3_650 * DAY)?;
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points = vec![CrlDistributionPoint {
        // A name that no resolver answers: nobody is to fetch it.
        uris: vec!["https://simulated.invalid/crl.der".to_owned()],
    }];
    Ok(params)
}

/// Seconds since 1970 as rcgen wants them.
pub(crate) fn moment(seconds: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds)
        .with_context(|| format!("{seconds} is no time of a certificate"))
}
