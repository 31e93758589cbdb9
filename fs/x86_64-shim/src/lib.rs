//! Stands in for the crate `x86_64` below `tdx-guest`. Not that crate, nor a copy of any of it: only the two names that `tdx-guest` 0.6.0 uses.
//!
//! `tdx-guest` asks for `x86_64` with its default features, which need a nightly compiler; Atlas is built by a stable one. The workspace
//! therefore puts this crate in its place (`[patch.crates-io]`). What uses it, its `hlt`, is for the kernel of a trust domain, and Atlas
//! never calls it. `scripts/rules` sees to it that nothing else in the tree depends on this crate.

#![no_std]

/// Registers of the processor.
pub mod registers {
    /// The flags register.
    pub mod rflags {
        /// A value of the flags register.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct RFlags(u64);

        impl RFlags {
            /// IF: maskable interrupts are delivered (Intel SDM volume 1, 3.4.3).
            pub const INTERRUPT_FLAG: Self = Self(1 << 9);

            /// True when every bit of `other` is set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }

        /// The register as it is now.
        #[must_use]
        pub fn read() -> RFlags {
            let bits: u64;
            // SAFETY: the stack is used and left as it was found (no `nostack`, so the red zone is spared); no flag is changed.
            unsafe {
                core::arch::asm!("pushfq", "pop {}", out(reg) bits, options(preserves_flags));
            }
            RFlags(bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::registers::rflags::{self, RFlags};

    #[test]
    fn a_process_is_never_found_with_its_interrupts_off() {
        assert!(rflags::read().contains(RFlags::INTERRUPT_FLAG));
    }
}
