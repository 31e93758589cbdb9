//! The simulated guest: its identity, attributes and registers. Not how they are signed or read.

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha384};

use crate::ccel;

/// One measurement: SHA-384.
pub type Digest = [u8; 48];

/// Attribute: the host can read the guest's memory.
pub const DEBUG: u64 = 1;
/// Attribute: no exception when the host takes a page away; verifiers want it set.
pub const SEPT_VE_DISABLE: u64 = 1 << 28;
/// Attribute: the guest can be moved to another machine.
pub const MIGRATABLE: u64 = 1 << 29;

/// What a TDX module knows of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td {
    /// Security versions of the TDX module and its loader.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mr_seam: Digest,
    /// Attributes: [`DEBUG`], [`SEPT_VE_DISABLE`] and others.
    pub attributes: u64,
    /// Processor features that the guest may use.
    pub xfam: u64,
    /// Measurement of the guest as it was built: its firmware.
    pub mrtd: Digest,
    /// Free for the host: configuration.
    pub mrconfigid: Digest,
    /// Free for the host: owner.
    pub mrowner: Digest,
    /// Free for the host: configuration by the owner.
    pub mrownerconfig: Digest,
    /// Registers that only grow: firmware, kernel, command line, and the fourth for whoever runs.
    pub rtmr: [Digest; 4],
    /// Of the service guests bound to this one; zero for none. Only in quotes of TDX 1.5.
    pub mr_servicetd: Digest,
    /// Another one after each boot. Only in quotes of the extended body of TDX 1.5.
    pub td_id: [u8; 32],
}

impl Default for Td {
    /// A sound production guest that has just booted, as [`ccel::boot_events`] tells it; always the same.
    fn default() -> Self {
        let mut tee_tcb_svn = [0; 16];
        tee_tcb_svn[..3].copy_from_slice(&[6, 1, 5]);
        let mut td_id = [0; 32];
        td_id.copy_from_slice(&made_up("td_id")[..32]);
        Self {
            tee_tcb_svn,
            mr_seam: made_up("mr_seam"),
            attributes: SEPT_VE_DISABLE,
            xfam: 0x06_1ae7,
            mrtd: made_up("mrtd"),
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            rtmr: ccel::replay(&ccel::boot_events()),
            mr_servicetd: [0; 48],
            td_id,
        }
    }
}

impl Td {
    /// Adds `data` to a register: its new value is the hash of the old one and the data. There is no way back but a reboot.
    pub fn extend(&mut self, register: usize, data: &Digest) {
        self.rtmr[register] = extended(&self.rtmr[register], data);
    }

    /// The registers as the firmware leaves them, and another instance.
    pub fn reboot(&mut self) -> Result<()> {
        self.rtmr = ccel::replay(&ccel::boot_events());
        getrandom::fill(&mut self.td_id).context("no randomness")
    }

    /// Whether the host can look inside.
    pub fn set_debug(&mut self, on: bool) {
        if on {
            self.attributes |= DEBUG;
        } else {
            self.attributes &= !DEBUG;
        }
    }
}

/// What a register holds after `data` came to `old`.
pub fn extended(old: &Digest, data: &Digest) -> Digest {
    let mut hash = Sha384::new();
    hash.update(old);
    hash.update(data);
    hash.finalize().into()
}

/// A measurement of nothing, the same in each run.
pub(crate) fn made_up(what: &str) -> Digest {
    Sha384::digest(format!("atlas-tdx-sim {what}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_forgets_extensions_and_makes_another_instance() {
        let booted = Td::default();
        assert_eq!(booted.rtmr[3], [0; 48]);
        assert!(booted.rtmr[..3].iter().all(|r| r != &[0; 48]));
        let mut td = booted.clone();
        td.extend(3, &[7; 48]);
        td.extend(0, &[7; 48]);
        assert_ne!(td.rtmr[3], booted.rtmr[3]);
        td.reboot().unwrap();
        assert_eq!(td.rtmr, booted.rtmr);
        assert_ne!(td.td_id, booted.td_id);
    }
}
