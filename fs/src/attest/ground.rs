//! What the attester stands on: the kernel's interfaces as a machine, the daemon's own program and configuration, places. Makes no evidence.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{fs, io};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::Rtmr;
use atlas_manifests::evidence::event::EventDigest;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use jiff::Timestamp;

use super::events::DEFAULT_DIR;
use super::keeper::Settings;
use super::machine::Machine;
use super::tdx::Interfaces;

/// A trust domain by way of the kernel.
pub(super) struct Td {
    pub(super) interfaces: Interfaces,
    /// No quote is waited for any more.
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Machine for Td {
    fn quote(&self, report_data: &[u8; 64], within: Duration) -> Result<Vec<u8>, String> {
        self.interfaces
            .quote(report_data, within, &self.cancelled, &|_| Ok(()))
            .map_err(|e| e.to_string())
    }

    fn rtmr3(&self) -> io::Result<Option<Rtmr>> {
        if !self.interfaces.has_rtmr() {
            return Ok(None);
        }
        let value = self.interfaces.rtmr3().map_err(io::Error::other)?;
        Ok(Some(Rtmr(value)))
    }

    fn extend(&self, digest: &EventDigest) -> io::Result<()> {
        self.interfaces
            .extend_rtmr3(&digest.0)
            .map_err(io::Error::other)
    }

    fn ccel(&self) -> io::Result<Option<Vec<u8>>> {
        self.interfaces.ccel().map_err(io::Error::other)
    }

    fn genuine(&self) -> bool {
        self.interfaces.genuine()
    }
}

/// One for each set of registers: those of a simulator must never be taken for the machine's.
pub(super) fn event_log(settings: &Settings) -> PathBuf {
    let registers = &settings.interfaces.measurements;
    match &settings.event_log {
        Some(dir) => dir.clone(),
        None if *registers == Interfaces::default().measurements => DEFAULT_DIR.into(),
        None => {
            let name = Sha256::of(registers.as_os_str().as_bytes()).hex();
            format!("{DEFAULT_DIR}-{}", &name[..16]).into()
        }
    }
}

/// SHA-256 of the running program.
pub(super) fn program() -> io::Result<Sha256> {
    fs::read("/proc/self/exe").map(|bytes| Sha256::of(&bytes))
}

/// What is bound of the configuration: `key=value` lines, sorted. Where the interfaces are is part of it: a simulator cannot be slipped in unseen.
pub(super) fn config_text(settings: &Settings, config: &[(&str, String)]) -> String {
    let places = &settings.interfaces;
    let mut lines: Vec<String> = config.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
    for (key, path) in [
        ("tsm-root", &places.tsm),
        ("mr-root", &places.measurements),
        ("ccel", &places.ccel),
    ] {
        lines.push(format!("{key}={}\n", path.display()));
    }
    lines.push(format!("explicit-quotes={}\n", settings.explicit.join(" ")));
    lines.sort();
    lines.concat()
}

pub(super) fn patterns(lines: &[String]) -> Result<Gitignore, String> {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        builder
            .add_line(None, line)
            .map_err(|e| format!("--explicit-quotes {line:?}: {e}"))?;
    }
    builder.build().map_err(|e| e.to_string())
}

/// Now, to the second, RFC 3339.
pub(super) fn second() -> String {
    Timestamp::from_second(Timestamp::now().as_second())
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}
