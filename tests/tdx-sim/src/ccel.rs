//! The event log that the firmware leaves for the guest, and the ACPI table that points to it. Made up: nothing was measured.
//!
//! The format is the TCG's crypto-agile one with SHA-384 only; measurement registers count from one, so that 1, 2 and 3 are RTMR0,
//! RTMR1 and RTMR2, and 4 would be RTMR3, which firmware leaves alone.

use sha2::{Digest as _, Sha384};

use crate::td::{Digest, extended};

/// Kinds of events, as the TCG numbers them.
pub mod kind {
    /// Says something and is not measured.
    pub const NO_ACTION: u32 = 3;
    /// The firmware is done with one register.
    pub const SEPARATOR: u32 = 4;
    /// What a boot loader measures: command line, initial file system.
    pub const IPL: u32 = 13;
    /// A variable of the firmware's configuration.
    pub const VARIABLE: u32 = 0x8000_0001;
    /// A program that the firmware starts.
    pub const APPLICATION: u32 = 0x8000_0003;
    /// The firmware does something by name.
    pub const ACTION: u32 = 0x8000_0007;
    /// A part of the firmware itself.
    pub const FIRMWARE: u32 = 0x8000_000a;
    /// Tables that the firmware hands to the guest.
    pub const TABLES: u32 = 0x8000_000b;
}

/// SHA-384 in the TCG's registry.
const ALGORITHM: u16 = 0x000c;
/// What firmware sets aside for the log.
const AREA: usize = 64 * 1024;
/// Where the table says that the log lies: an address like any other.
const ADDRESS: u64 = 0x7f0f_a000;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// 0 for MRTD, 1 to 4 for RTMR0 to RTMR3.
    pub register: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// What the register was extended with, unless the kind is [`kind::NO_ACTION`].
    pub digest: Digest,
    /// What the digest is of, or a description of it.
    pub data: Vec<u8>,
}

/// The boot of the simulated guest: always the same.
pub fn boot_events() -> Vec<Event> {
    vec![
        // Not measured, and of the register that the next ones go to: a replay that counts it is wrong.
        silent(1, b"StartupLocality\0\x03"),
        measured(1, kind::FIRMWARE, b"simulated firmware volume"),
        measured(1, kind::VARIABLE, b"SecureBoot=1"),
        measured(1, kind::VARIABLE, b"PK=simulated"),
        measured(1, kind::VARIABLE, b"db=simulated"),
        measured(1, kind::TABLES, b"simulated ACPI tables"),
        measured(1, kind::SEPARATOR, &[0; 4]),
        measured(2, kind::ACTION, b"Calling EFI Application from Boot Option"),
        measured(2, kind::SEPARATOR, &[0; 4]),
        measured(2, kind::APPLICATION, b"simulated shim"),
        measured(2, kind::APPLICATION, b"simulated kernel"),
        silent(2, b"nothing to see"),
        measured(2, kind::ACTION, b"Exit Boot Services Invocation"),
        measured(3, kind::IPL, b"kernel_cmdline: root=/dev/vda1 ro"),
        measured(3, kind::IPL, b"initrd: simulated"),
        measured(3, kind::SEPARATOR, &[0; 4]),
    ]
}

/// The four registers after these events, from zero.
pub fn replay(events: &[Event]) -> [Digest; 4] {
    let mut rtmr = [[0; 48]; 4];
    for event in events.iter().filter(|e| e.kind != kind::NO_ACTION) {
        if let Some(register) = (event.register as usize)
            .checked_sub(1)
            .and_then(|i| rtmr.get_mut(i))
        {
            *register = extended(register, &event.digest);
        }
    }
    rtmr
}

/// The log as it lies in memory: header, events, and 0xff up to the end of its area.
pub fn log(events: &[Event]) -> Vec<u8> {
    let mut out = header();
    for event in events {
        out.extend(event.register.to_le_bytes());
        out.extend(event.kind.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(ALGORITHM.to_le_bytes());
        out.extend(event.digest);
        out.extend((event.data.len() as u32).to_le_bytes());
        out.extend(&event.data);
    }
    out.resize(out.len().max(AREA), 0xff);
    out
}

/// The ACPI table that says how long the log is and where it lies: 56 bytes that sum to zero.
pub fn table(log: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(56);
    out.extend(b"CCEL");
    out.extend(56u32.to_le_bytes());
    // Revision, and the checksum's place.
    out.extend([1, 0]);
    out.extend(b"ATLAS ");
    out.extend(b"SIMULATE");
    out.extend(1u32.to_le_bytes());
    out.extend(b"ATLS");
    out.extend(1u32.to_le_bytes());
    // Kind of confidential computing: 2 is TDX; subtype and reserved bytes.
    out.extend([2, 0, 0, 0]);
    out.extend((log.len() as u64).to_le_bytes());
    out.extend(ADDRESS.to_le_bytes());
    out[9] = out
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg();
    out
}

/// The first record has the older format, so that a reader of that one finds its way.
fn header() -> Vec<u8> {
    let mut specification = b"Spec ID Event03\0".to_vec();
    // Platform class, then version 2.0, errata, and the size of a pointer (2 for 64 bits).
    specification.extend(0u32.to_le_bytes());
    specification.extend([0, 2, 0, 2]);
    specification.extend(1u32.to_le_bytes());
    specification.extend(ALGORITHM.to_le_bytes());
    specification.extend(48u16.to_le_bytes());
    // No information of a vendor.
    specification.push(0);

    let mut out = Vec::with_capacity(AREA);
    out.extend(0u32.to_le_bytes());
    out.extend(kind::NO_ACTION.to_le_bytes());
    out.extend([0; 20]);
    out.extend((specification.len() as u32).to_le_bytes());
    out.extend(specification);
    out
}

fn measured(register: u32, kind: u32, data: &[u8]) -> Event {
    Event {
        register,
        kind,
        digest: Sha384::digest(data).into(),
        data: data.to_vec(),
    }
}

fn silent(register: u32, data: &[u8]) -> Event {
    Event {
        register,
        kind: kind::NO_ACTION,
        digest: [0; 48],
        data: data.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_sums_to_zero_and_tells_the_length() {
        let log = log(&boot_events());
        let table = table(&log);
        assert_eq!(table.len(), 56);
        assert_eq!(table.iter().fold(0u8, |s, b| s.wrapping_add(*b)), 0);
        assert_eq!(table[40..48], (log.len() as u64).to_le_bytes());
    }
}
