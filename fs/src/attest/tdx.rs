//! The one file that opens the kernel's interfaces of a TDX guest: configfs-tsm, the measurements in sysfs, the event log of ACPI. Judges nothing of
//! what they say, and has no other way to a quote than the kernel's.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atlas_manifests::evidence::ccel;
use rustix::io::Errno;

use super::quote::{self, QuoteError, Requests};
use crate::failure::shown;

/// No event log that is read is longer, in bytes.
const MAX_CCEL: u64 = ccel::MAX_CCEL as u64;
/// statfs(2) of the kernel's configfs ...
const CONFIGFS: u64 = 0x6265_6570;
/// ... and of sysfs.
const SYSFS: u64 = 0x6265_6572;
/// How often a pause looks whether it is cancelled.
const SLICE: Duration = Duration::from_millis(50);

/// Where the interfaces lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// The directory of requests for reports.
    pub tsm: PathBuf,
    /// The directory of measurements (Linux 6.16 and later).
    pub measurements: PathBuf,
    /// The event log of the firmware.
    pub ccel: PathBuf,
}

impl Default for Interfaces {
    fn default() -> Self {
        Self {
            tsm: "/sys/kernel/config/tsm/report".into(),
            measurements: "/sys/devices/virtual/misc/tdx_guest/measurements".into(),
            ccel: "/sys/firmware/acpi/tables/data/CCEL".into(),
        }
    }
}

/// Who answers requests for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nobody: no configfs-tsm, or nothing behind it.
    Absent,
    /// Another technology: its name for people.
    Other(String),
    /// TDX.
    Tdx,
}

/// A measurement of the trust domain, 48 bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measurement {
    /// The initial memory.
    Mrtd,
    /// The firmware and its configuration.
    Rtmr0,
    /// What the firmware loaded.
    Rtmr1,
    /// The kernel's command line and initial ramdisk.
    Rtmr2,
    /// What runs: the one that this program extends.
    Rtmr3,
    /// What the owner's configuration is, as the host says it.
    MrConfigId,
    /// Who the owner is, as the host says it.
    MrOwner,
    /// The owner's configuration, as the host says it.
    MrOwnerConfig,
}

impl Measurement {
    fn file(self) -> &'static str {
        match self {
            Self::Mrtd => "mrtd:sha384",
            Self::Rtmr0 => "rtmr0:sha384",
            Self::Rtmr1 => "rtmr1:sha384",
            Self::Rtmr2 => "rtmr2:sha384",
            Self::Rtmr3 => "rtmr3:sha384",
            Self::MrConfigId => "mrconfigid",
            Self::MrOwner => "mrowner",
            Self::MrOwnerConfig => "mrownerconfig",
        }
    }
}

/// A measurement or the event log could not be read or extended.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}{}", shown(path), quote_remedy(source))]
pub struct ReadError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

fn quote_remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => ": Linux 6.16 or later and the module tdx_guest are needed",
        _ => quote::remedy(error),
    }
}

impl Interfaces {
    /// Who answers here. Makes a request and frees it: nothing else tells.
    ///
    /// # Errors
    /// When no request can be made, for want of a right for instance: then it is not known.
    pub fn present(&self) -> Result<Presence, QuoteError> {
        // Also of a directory that only root may enter: not to be taken for an absent one.
        match std::fs::metadata(&self.tsm) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Presence::Absent),
            _ => {}
        }
        match quote::find_provider(&Kernel::at(&self.tsm)) {
            Ok(provider) if provider == quote::TDX_PROVIDER => Ok(Presence::Tdx),
            Ok(provider) => Ok(Presence::Other(quote::described(&provider))),
            Err(QuoteError::NoProvider) => Ok(Presence::Absent),
            Err(error) => Err(error),
        }
    }

    /// True when the requests are the kernel's own, and so are the measurements where there are any. Otherwise whatever comes from here is
    /// simulated, and whoever uses it must say so. Only root can mount over the kernel's.
    #[must_use]
    pub fn genuine(&self) -> bool {
        let of = |path: &Path| rustix::fs::statfs(path).map(|s| s.f_type.cast_unsigned());
        of(&self.tsm) == Ok(CONFIGFS)
            && matches!(of(&self.measurements), Ok(SYSFS) | Err(Errno::NOENT))
    }

    /// A quote over `report_data`. Asks again, with pauses, while another attempt may help and `within` is not over; an attempt that has begun
    /// is waited for, which the kernel ends after 30 s. What `check` says decides after the quote's own report data has been compared.
    /// Bytes after the quote (some hosts pad) are left in place.
    ///
    /// # Errors
    /// As `QuoteError` says; each text names the remedy.
    pub fn quote(
        &self,
        report_data: &[u8; 64],
        within: Duration,
        cancelled: &AtomicBool,
        check: &dyn Fn(&[u8]) -> Result<(), String>,
    ) -> Result<Vec<u8>, QuoteError> {
        quote::obtain(
            &Kernel::at(&self.tsm),
            report_data,
            within,
            cancelled,
            check,
        )
    }

    /// True when RTMR3 can be read here: since Linux 6.16.
    #[must_use]
    pub fn has_rtmr(&self) -> bool {
        self.place(Measurement::Rtmr3).exists()
    }

    /// A measurement as it is now.
    ///
    /// # Errors
    /// When it cannot be read or is not 48 bytes long.
    pub fn read(&self, which: Measurement) -> Result<[u8; 48], ReadError> {
        let path = self.place(which);
        bounded(&path, 48)
            .and_then(|bytes| {
                let length = bytes.len();
                bytes
                    .try_into()
                    .map_err(|_| io::Error::other(format!("{length} bytes instead of 48")))
            })
            .map_err(|source| ReadError { path, source })
    }

    /// RTMR3 as it is now.
    ///
    /// # Errors
    /// As of `read`.
    pub fn rtmr3(&self) -> Result<[u8; 48], ReadError> {
        self.read(Measurement::Rtmr3)
    }

    /// Extends RTMR3: it becomes SHA-384 of what it was and `digest`.
    ///
    /// # Errors
    /// When the kernel or the TDX module refuses. Whether it was extended all the same is then not known: read it.
    pub fn extend_rtmr3(&self, digest: &[u8; 48]) -> Result<(), ReadError> {
        let path = self.place(Measurement::Rtmr3);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| match file.write_at(digest, 0)? {
                48 => Ok(()),
                n => Err(io::Error::other(format!("{n} of 48 bytes taken"))),
            })
            .map_err(|source| ReadError { path, source })
    }

    /// The firmware's event log, with the fill after its last event; `None` when the firmware left none.
    ///
    /// # Errors
    /// When it cannot be read or is longer than 4 MiB.
    pub fn ccel(&self) -> Result<Option<Vec<u8>>, ReadError> {
        match bounded(&self.ccel, MAX_CCEL) {
            Ok(log) => Ok(Some(log)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError {
                path: self.ccel.clone(),
                source,
            }),
        }
    }

    fn place(&self, which: Measurement) -> PathBuf {
        self.measurements.join(which.file())
    }
}

/// A whole file, which is refused when it is longer than `most` bytes.
fn bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("longer than {most} bytes")));
    }
    Ok(bytes)
}

/// The kernel's directory of requests.
struct Kernel<'a> {
    tsm: &'a Path,
    began: Instant,
}

impl<'a> Kernel<'a> {
    fn at(tsm: &'a Path) -> Self {
        Self {
            tsm,
            began: Instant::now(),
        }
    }
}

impl Requests for Kernel<'_> {
    fn mkdir(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir(self.tsm.join(name))
    }

    fn write(&self, name: &str, attribute: &str, bytes: &[u8]) -> io::Result<usize> {
        // Neither created nor truncated: the kernel has made it.
        let mut file = File::options()
            .write(true)
            .open(self.tsm.join(name).join(attribute))?;
        file.write(bytes)
    }

    fn read(&self, name: &str, attribute: &str, bound: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.tsm.join(name).join(attribute))?;
        let mut bytes = Vec::new();
        let mut part = vec![0; 16 << 10];
        // Not `read_to_end`: it would answer EINTR by reading on, and an interrupted quote is a fault of its own.
        while bytes.len() < bound {
            let room = part.len().min(bound - bytes.len());
            match file.read(&mut part[..room])? {
                0 => break,
                n => bytes.extend_from_slice(&part[..n]),
            }
        }
        Ok(bytes)
    }

    fn rmdir(&self, name: &str) -> io::Result<()> {
        std::fs::remove_dir(self.tsm.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(self.tsm)?;
        Ok(names
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect())
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&self, time: Duration, cancelled: &AtomicBool) {
        let until = Instant::now() + time;
        while !cancelled.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
#[path = "tdx_tests.rs"]
mod tests;
