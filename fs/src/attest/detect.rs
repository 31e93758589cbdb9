//! Whether the processor says that this is a TDX trust domain, and what the bits of its attributes are called. Not a proof: a machine that is
//! no trust domain may claim to be one. Only a quote proves it.
//!
//! Of `tdx-guest` only these two things are for processes: every other function of it is a TDCALL, which ends a process with SIGILL, and its
//! layouts of reports are not the hardware's.

/// True when CPUID says that this is a TDX trust domain; false on other architectures.
///
/// In a trust domain the TDX module itself answers leaf 0x21, so the host cannot hide it. Outside of one the host answers what it likes.
#[must_use]
pub fn in_td() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        tdx_guest::is_tdx_guest_early()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The names of the set bits of TDATTRIBUTES, lowest bit first; a bit without a name (reserved, or newer than this program) is `"UNKNOWN"`,
/// once however many there are. Only x86_64 has names.
#[must_use]
pub fn attribute_names(bits: u64) -> Vec<&'static str> {
    let named: Vec<(u64, &'static str)> = names().filter(|(bit, _)| bits & bit != 0).collect();
    let known = named.iter().fold(0, |all, (bit, _)| all | bit);
    let unknown = (bits & !known != 0).then_some("UNKNOWN");
    named.iter().map(|(_, name)| *name).chain(unknown).collect()
}

#[cfg(target_arch = "x86_64")]
fn names() -> impl Iterator<Item = (u64, &'static str)> {
    use tdx_guest::TdAttributes as A;
    [
        (A::DEBUG, "DEBUG"),
        (A::HGS_PLUS_PROF, "HGS_PLUS_PROF"),
        (A::PERF_PROF, "PERF_PROF"),
        (A::PMT_PROF, "PMT_PROF"),
        (A::ICSSD, "ICSSD"),
        (A::LASS, "LASS"),
        (A::SEPT_VE_DISABLE, "SEPT_VE_DISABLE"),
        (A::MIGRATABLE, "MIGRATABLE"),
        (A::PKS, "PKS"),
        (A::KL, "KL"),
        (A::TPA, "TPA"),
        (A::PERFMON, "PERFMON"),
    ]
    .into_iter()
    .map(|(bit, name)| (bit.bits(), name))
}

#[cfg(not(target_arch = "x86_64"))]
fn names() -> impl Iterator<Item = (u64, &'static str)> {
    std::iter::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_asked_and_the_process_lives_on() {
        // In a trust domain the kernel says so too; where the two differ, ours is the wrong one.
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let kernel = flags.split_whitespace().any(|flag| flag == "tdx_guest");
        assert_eq!(in_td(), kernel);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_debug_domain_is_not_read_as_a_good_one() {
        assert_eq!(attribute_names(1 << 28), ["SEPT_VE_DISABLE"]);
        assert_eq!(
            attribute_names(1 | 1 << 28 | 1 << 63),
            ["DEBUG", "SEPT_VE_DISABLE", "PERFMON"]
        );
        assert!(attribute_names(0).is_empty());
    }

    #[test]
    fn a_bit_that_nobody_knows_is_not_passed_over() {
        assert_eq!(attribute_names(1 << 1 | 1 << 40), ["UNKNOWN"]);
        assert!(attribute_names(u64::MAX).contains(&"UNKNOWN"));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_bit_with_a_name_is_named_once() {
        let all = tdx_guest::TdAttributes::all().bits();
        let names = attribute_names(all);
        assert_eq!(names.len(), all.count_ones() as usize);
        assert!(!names.contains(&"UNKNOWN"));
    }
}
