//! What the attester needs of a trust domain. A trait, so that the daemon holds no simulator: the tests and `atlas-tdx-sim` stand outside of it.

use std::io;
use std::time::Duration;

use atlas_manifests::evidence::Rtmr;
use atlas_manifests::evidence::event::EventDigest;

/// The trust domain that the daemon runs in.
pub trait Machine: Send + Sync {
    /// Has a quote made for 64 bytes, as the kernel gives it: it may be padded.
    ///
    /// # Errors
    /// Why there is none, in one line; also when it took longer than `within`.
    fn quote(&self, report_data: &[u8; 64], within: Duration) -> Result<Vec<u8>, String>;

    /// What RTMR3 is now; `None` where the kernel does not show it (Linux before 6.16).
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn rtmr3(&self) -> io::Result<Option<Rtmr>>;

    /// Extends RTMR3: SHA-384 over what it is and the digest. Never taken back.
    ///
    /// # Errors
    /// When the kernel says that it did not. The register alone tells whether that is so.
    fn extend(&self, digest: &EventDigest) -> io::Result<()>;

    /// The event log of firmware and boot loader; `None` where there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn ccel(&self) -> io::Result<Option<Vec<u8>>>;

    /// Whether these interfaces are the kernel's own (configfs, sysfs), and not directories that somebody named.
    fn genuine(&self) -> bool;
}
