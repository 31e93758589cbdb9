//! Whether Intel vouches for a quote: the only file that verifies with `dcap-qvl` (RATS: the endorser's part). Offline, by the caller's clock and root.

pub(super) use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::policy::PckCertFlag;
use dcap_qvl::tcb_info::TcbStatus;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy};

use super::collateral::Collateral;
use super::policy::Policy;
use super::quote::Quote;
use crate::digest::{Sha256, hex};

/// Whose root a chain must end in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Intel's, built in.
    Intel,
    /// A simulator's, in DER. Whatever is found under it is simulated.
    Simulated(Vec<u8>),
}

/// What is known of the platform once a quote is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platform {
    /// In Intel's words, for example `UpToDate`.
    pub(super) status: String,
    pub(super) advisories: Vec<String>,
    pub(super) evaluation: u32,
    pub(super) ppid: String,
    /// What the policy does not allow of it, in words.
    pub(super) refused: Vec<String>,
}

/// SHA-256 of Intel's SGX root certificate (DER), by which a message is chosen. What decides is the root in the library.
const INTEL_ROOT: &str = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";

/// Whether the chain that a quote carries ends in Intel's root, by name.
pub(super) fn names_intel(quote: &Quote<'_>) -> bool {
    quote
        .root()
        .is_some_and(|r| Sha256::of(&r).hex() == INTEL_ROOT)
}

/// The kind of platform that a quote comes from, in lowercase hex; `None` when its certificates cannot be read.
pub fn fmspc(quote: &[u8]) -> Option<String> {
    let quote = dcap_qvl::quote::Quote::parse(quote).ok()?;
    dcap_qvl::intel::quote_fmspc(&quote).ok().map(|f| hex(&f))
}

/// Signatures, chain, CRLs, TCB level, QE and TDX module identity, TD attributes.
///
/// # Errors
/// Why Intel (or the simulator) does not vouch for it, in one line.
pub(super) fn verify(
    quote: &[u8],
    collateral: &Collateral,
    root: &Root,
    second: u64,
    policy: &Policy,
) -> Result<Platform, String> {
    let verifier = match root {
        Root::Intel => QuoteVerifier::new_prod(),
        Root::Simulated(der) => QuoteVerifier::new(der.clone()),
    };
    // `verify` alone says Ok to a platform of any patch level but revoked: every claim is looked at below.
    let claims = verifier
        .allow_debug(policy.td.allow_debug)
        .allow_service_td(policy.td.allow_service_td)
        .verify_with_policy(
            quote,
            collateral.inner.clone(),
            second,
            &QuotePolicy::claims_only(second),
        )
        .map_err(|e| one_line(&format!("{e:#}")))?;
    Ok(platform(&claims, policy))
}

fn platform(claims: &QuoteClaims, policy: &Policy) -> Platform {
    let pck = &claims.platform.pck;
    let ppid = hex(&pck.ppid);
    let mut refused = Vec::new();
    let flags = [
        (pck.smt_enabled, policy.platform.allow_smt, "SMT is on"),
        (
            pck.dynamic_platform,
            policy.platform.allow_dynamic_platform,
            "it is a dynamic platform",
        ),
        (
            pck.cached_keys,
            policy.platform.allow_cached_keys,
            "its keys are cached by Intel",
        ),
    ];
    for (flag, allowed, what) in flags {
        if flag == PckCertFlag::True && !allowed {
            refused.push(what.to_owned());
        }
    }
    if let Some(allowed) = &policy.platform.ppid
        && !allowed.iter().any(|p| p.eq_ignore_ascii_case(&ppid))
    {
        refused.push(format!("platform {ppid} is not one of those allowed"));
    }
    Platform {
        status: word(claims.tcb.status).to_owned(),
        advisories: claims.tcb.advisory_ids.clone(),
        evaluation: claims.tcb.eval_data_number,
        ppid,
        refused,
    }
}

const fn word(status: TcbStatus) -> &'static str {
    match status {
        TcbStatus::UpToDate => "UpToDate",
        TcbStatus::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
        TcbStatus::OutOfDate => "OutOfDate",
        TcbStatus::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
        TcbStatus::ConfigurationNeeded => "ConfigurationNeeded",
        TcbStatus::SWHardeningNeeded => "SWHardeningNeeded",
        TcbStatus::Revoked => "Revoked",
        TcbStatus::TDRelaunchAdvised => "TDRelaunchAdvised",
        TcbStatus::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
    }
}

/// A message of the library, which may hold parts of what was read.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(300).collect()
}
