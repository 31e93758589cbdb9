//! What Intel's provisioning service would say about the platform, signed in the simulated world. Not fetched, and no service: a file.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use jiff::Timestamp;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use serde_json::{Value, json};

use crate::hex;
use crate::pki::{CPU_SVN, Fmspc, PCE_SVN, World, moment};
use crate::quote::{QE_PRODUCT, QE_SIGNER, QE_SVN};

const DAY: i64 = 86_400;

/// What collateral says about a platform's security version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcbStatus {
    /// Nothing is known against it.
    #[default]
    UpToDate,
    /// Software has to defend itself.
    SWHardeningNeeded,
    /// The machine has to be set up otherwise.
    ConfigurationNeeded,
    /// Both of these.
    ConfigurationAndSWHardeningNeeded,
    /// Microcode or module are too old.
    OutOfDate,
    /// Too old, and to be set up otherwise.
    OutOfDateConfigurationNeeded,
    /// Not to be believed at all.
    Revoked,
}

impl TcbStatus {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
    ];

    /// As collateral spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for TcbStatus {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|status| status.word() == text) {
            Some(status) => Ok(status),
            None => bail!(
                "{text:?} is no TCB status: {}",
                Self::ALL.map(Self::word).join(", ")
            ),
        }
    }
}

/// Which kind of quote the collateral is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tee {
    /// The right one.
    #[default]
    Tdx,
    /// The wrong one: signed as well, and to be refused for a quote of TDX.
    Sgx,
}

/// What the collateral is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollateralSpec {
    /// About the platform.
    pub tcb_status: TcbStatus,
    /// Why it is not up to date.
    pub advisory_ids: Vec<String>,
    /// Seconds since 1970.
    pub issued: i64,
    /// Not to be used later than this.
    pub next_update: i64,
    /// Grows with each round of advisories.
    pub tcb_evaluation_data_number: u32,
    /// Another kind of processor than the world's.
    pub fmspc: Option<Fmspc>,
    /// The PCK certificate is on its list.
    pub revoke_pck: bool,
    /// The lists were to be renewed before `issued`.
    pub crl_expired: bool,
    /// Which kind of quote it is for.
    pub tee: Tee,
}

impl CollateralSpec {
    /// Everything is well: issued a day before `now`, good for thirty days.
    pub fn at(now: i64) -> Self {
        Self {
            tcb_status: TcbStatus::UpToDate,
            advisory_ids: Vec::new(),
            issued: now - DAY,
            next_update: now + 29 * DAY,
            tcb_evaluation_data_number: 17,
            fmspc: None,
            revoke_pck: false,
            crl_expired: false,
            tee: Tee::Tdx,
        }
    }

    /// The same with this status, and an advisory unless all is well.
    #[must_use]
    pub fn status(mut self, status: TcbStatus) -> Self {
        self.tcb_status = status;
        self.advisory_ids = match status {
            TcbStatus::UpToDate => Vec::new(),
            _ => vec!["INTEL-SA-SIMULATED".to_owned()],
        };
        self
    }
}

impl World {
    /// Collateral as JSON, in the form that dcap-qvl's `QuoteCollateralV3` has: binary fields in hexadecimal.
    pub fn collateral(&self, spec: &CollateralSpec) -> Result<String> {
        let tcb_info = self.tcb_info(spec)?.to_string();
        let qe_identity = qe_identity(spec)?.to_string();
        let key = self.tcb_key();
        let collateral = json!({
            "pck_crl_issuer_chain": self.platform_chain(),
            "root_ca_crl": hex::encode(&revoked(&self.root_issuer()?, spec, None)?),
            "pck_crl": hex::encode(&revoked(
                &self.platform_issuer()?,
                spec,
                spec.revoke_pck.then(|| self.pck_serial()),
            )?),
            "tcb_info_issuer_chain": self.tcb_chain(),
            "tcb_info_signature": hex::encode(&key.sign(tcb_info.as_bytes())?),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": self.tcb_chain(),
            "qe_identity_signature": hex::encode(&key.sign(qe_identity.as_bytes())?),
            "qe_identity": qe_identity,
        });
        Ok(serde_json::to_string_pretty(&collateral)?)
    }

    fn tcb_info(&self, spec: &CollateralSpec) -> Result<Value> {
        let issued = date(spec.issued)?;
        let level = |above: u8, status: TcbStatus| {
            let mut tcb = json!({
                "sgxtcbcomponents": CPU_SVN.map(|svn| json!({"svn": svn + above})),
                "pcesvn": PCE_SVN,
            });
            if spec.tee == Tee::Tdx {
                tcb["tdxtcbcomponents"] = json!([0; 16].map(|svn| json!({"svn": svn})));
            }
            let mut level = json!({"tcb": tcb, "tcbDate": issued, "tcbStatus": status.word()});
            if status == spec.tcb_status && !spec.advisory_ids.is_empty() {
                level["advisoryIDs"] = json!(spec.advisory_ids);
            }
            level
        };
        let mut levels = Vec::new();
        if spec.tcb_status != TcbStatus::UpToDate {
            // What the platform would have to be for a better verdict.
            levels.push(level(1, TcbStatus::UpToDate));
        }
        levels.push(level(0, spec.tcb_status));

        let mut info = json!({
            "id": match spec.tee { Tee::Tdx => "TDX", Tee::Sgx => "SGX" },
            "version": 3,
            "issueDate": issued,
            "nextUpdate": date(spec.next_update)?,
            "fmspc": spec.fmspc.unwrap_or(self.options().fmspc).to_string(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": spec.tcb_evaluation_data_number,
            "tcbLevels": levels,
        });
        if spec.tee == Tee::Tdx {
            // Of Intel's own module: no signer, no attributes.
            let module = json!({
                "mrsigner": "00".repeat(48),
                "attributes": "00".repeat(8),
                "attributesMask": "FF".repeat(8),
            });
            let identities = ["TDX_01", "TDX_03"].map(|id| {
                let mut identity = module.clone();
                identity["id"] = json!(id);
                identity["tcbLevels"] = json!([
                    {"tcb": {"isvsvn": 2}, "tcbDate": issued, "tcbStatus": "UpToDate"}
                ]);
                identity
            });
            info["tdxModule"] = module;
            info["tdxModuleIdentities"] = json!(identities);
        }
        Ok(info)
    }
}

fn qe_identity(spec: &CollateralSpec) -> Result<Value> {
    let issued = date(spec.issued)?;
    Ok(json!({
        "id": match spec.tee { Tee::Tdx => "TD_QE", Tee::Sgx => "QE" },
        "version": 2,
        "issueDate": issued,
        "nextUpdate": date(spec.next_update)?,
        "tcbEvaluationDataNumber": spec.tcb_evaluation_data_number,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode(&QE_SIGNER).to_uppercase(),
        "isvprodid": QE_PRODUCT,
        "tcbLevels": [{"tcb": {"isvsvn": QE_SVN}, "tcbDate": issued, "tcbStatus": "UpToDate"}],
    }))
}

/// A revocation list, with one certificate on it or none.
fn revoked(
    issuer: &Issuer<'static, &KeyPair>,
    spec: &CollateralSpec,
    serial: Option<SerialNumber>,
) -> Result<Vec<u8>> {
    let (this_update, next_update) = if spec.crl_expired {
        (spec.issued - 2 * DAY, spec.issued - DAY)
    } else {
        (spec.issued, spec.next_update)
    };
    let mut revoked_certs = Vec::new();
    if let Some(serial_number) = serial {
        revoked_certs.push(RevokedCertParams {
            serial_number,
            revocation_time: moment(this_update)?,
            reason_code: None,
            invalidity_date: None,
        });
    }
    let list = CertificateRevocationListParams {
        this_update: moment(this_update)?,
        next_update: moment(next_update)?,
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(issuer)?.der().to_vec())
}

/// As RFC 3339 writes it, in whole seconds.
fn date(seconds: i64) -> Result<String> {
    Ok(Timestamp::from_second(seconds)?.to_string())
}
