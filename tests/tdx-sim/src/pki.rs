//! A public key infrastructure shaped like Intel's DCAP one, under a root of its own. Not Intel's: it vouches for nothing.
//!
//! The common names are Intel's, letter for letter, because verifiers demand them (go-tdx-guest compares them, dcap-qvl finds the
//! kind of platform by one). What tells the simulation is the organizational unit of every certificate, and the root.

mod cert;
mod disk;
mod key;
mod sgx;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, Issuer, KeyPair, SerialNumber};
use serde::{Deserialize, Serialize};

use crate::hex;
pub(crate) use cert::moment;
pub(crate) use key::Key;
pub(crate) use sgx::{CPU_SVN, PCE_SVN};

/// The organizational unit of every certificate: how a reader of one sees that it is of no worth.
pub const SIMULATED: &str = "SIMULATED, Atlas test only";

/// Family, model, stepping, platform and custom SKU: the kind of processor that collateral is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fmspc(pub [u8; 6]);

impl Default for Fmspc {
    /// That of a fifth-generation Xeon.
    fn default() -> Self {
        Self([0xb0, 0xc0, 0x6f, 0, 0, 0])
    }
}

impl fmt::Display for Fmspc {
    /// As collateral spells it: twelve digits in upper case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0).to_uppercase())
    }
}

impl FromStr for Fmspc {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self(hex::decode_array(text)?))
    }
}

/// What the PCK certificate says about the platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorldOptions {
    /// Kind of processor.
    pub fmspc: Fmspc,
    /// Hyper-threads are on.
    pub smt: bool,
    /// Packages can be added to the platform.
    pub dynamic_platform: bool,
    /// The registration service keeps the platform's root keys.
    pub cached_keys: bool,
}

/// A certificate and the key of its subject.
struct Party {
    key: Key,
    pem: String,
}

/// Everything from the root to the attestation key of one simulated platform.
pub struct World {
    now: i64,
    options: WorldOptions,
    root: Party,
    platform: Party,
    pck: Party,
    tcb: Party,
    attestation: Key,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl World {
    /// In memory only; certificates are valid from ten days before `now` (seconds since 1970) for ten years.
    pub fn new(now: i64) -> Result<Self> {
        Self::with(WorldOptions::default(), now)
    }

    /// The same of a platform of this kind.
    pub fn with(options: WorldOptions, now: i64) -> Result<Self> {
        let root_key = Key::generate()?;
        let root_params = cert::root(now)?;
        let root_pem = root_params.self_signed(root_key.pair())?.pem();
        let root_issuer = Issuer::new(root_params, root_key.pair());

        let platform_key = Key::generate()?;
        let platform_params = cert::platform(now)?;
        let platform_pem = platform_params
            .signed_by(platform_key.pair(), &root_issuer)?
            .pem();
        let platform_issuer = Issuer::new(platform_params, platform_key.pair());

        let pck_key = Key::generate()?;
        let mut ppid = [0; 16];
        getrandom::fill(&mut ppid).context("no randomness")?;
        let extension = sgx::extension(&options, &ppid);
        let pck_params = cert::pck(now, pck_key.serial(), extension)?;
        let pck_pem = pck_params
            .signed_by(pck_key.pair(), &platform_issuer)?
            .pem();

        let tcb_key = Key::generate()?;
        let tcb_pem = cert::tcb(now)?
            .signed_by(tcb_key.pair(), &root_issuer)?
            .pem();

        Ok(Self {
            now,
            options,
            attestation: Key::generate()?,
            tcb: Party {
                key: tcb_key,
                pem: tcb_pem,
            },
            pck: Party {
                key: pck_key,
                pem: pck_pem,
            },
            platform: Party {
                pem: platform_pem,
                key: platform_key,
            },
            root: Party {
                pem: root_pem,
                key: root_key,
            },
        })
    }

    /// A new one, kept in `dir`, which is made when it is not there and must hold no world yet.
    pub fn create(dir: &Path, options: WorldOptions, now: i64) -> Result<Self> {
        let world = Self::with(options, now)?;
        disk::save(&world, dir)?;
        Ok(world)
    }

    /// The one kept in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        disk::load(dir)
    }

    /// When it was made: the time that it was given.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// What its PCK certificate says.
    pub fn options(&self) -> &WorldOptions {
        &self.options
    }

    /// The root certificate, for a verifier that is told to trust it.
    pub fn root_pem(&self) -> &str {
        &self.root.pem
    }

    /// The same as DER.
    pub fn root_der(&self) -> Vec<u8> {
        // What this crate wrote, or read and parsed before it kept it.
        pem::parse(&self.root.pem).map_or_else(|_| Vec::new(), pem::Pem::into_contents)
    }

    /// As a quote carries it: leaf, intermediate, root.
    pub(crate) fn pck_chain(&self) -> String {
        [
            self.pck.pem.as_str(),
            &self.platform.pem,
            self.root.pem.as_str(),
        ]
        .concat()
    }

    /// As collateral carries it beside the PCK revocation list.
    pub(crate) fn platform_chain(&self) -> String {
        [self.platform.pem.as_str(), &self.root.pem].concat()
    }

    /// As collateral carries it beside what the TCB signer signed.
    pub(crate) fn tcb_chain(&self) -> String {
        [self.tcb.pem.as_str(), &self.root.pem].concat()
    }

    pub(crate) fn pck_key(&self) -> &Key {
        &self.pck.key
    }

    pub(crate) fn tcb_key(&self) -> &Key {
        &self.tcb.key
    }

    pub(crate) fn attestation_key(&self) -> &Key {
        &self.attestation
    }

    pub(crate) fn pck_serial(&self) -> SerialNumber {
        self.pck.key.serial()
    }

    /// Signs revocation lists of certificates that the root issued.
    pub(crate) fn root_issuer(&self) -> Result<Issuer<'static, &KeyPair>> {
        Ok(issuer(cert::root(self.now)?, &self.root.key))
    }

    /// Signs revocation lists of PCK certificates.
    pub(crate) fn platform_issuer(&self) -> Result<Issuer<'static, &KeyPair>> {
        Ok(issuer(cert::platform(self.now)?, &self.platform.key))
    }
}

fn issuer(params: CertificateParams, key: &Key) -> Issuer<'static, &KeyPair> {
    Issuer::new(params, key.pair())
}
