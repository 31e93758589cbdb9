//! What the mount itself answers: `user.atlas.*` and `MOUNT/.atlas/` (CONTRACTS 3). Every wait is bounded.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use atlas_manifests::digest::{DigestPrefix, Sha256};
use atlas_manifests::rows::VersionRow;
use atlas_manifests::shelf::{Catalogue as _, Object, Shelf as _};
use atlas_manifests::vocabulary::State;
use rustix::io::Errno;

use super::{Engine, TICK, lock, logging};
use crate::vfs::observer::{Caller, FileKey};

/// An attribute of a version that has ended waits for its seal at most so long.
const SEAL_WAIT: Duration = Duration::from_secs(5);
/// `sync` answers within so long.
const SYNC_WAIT: Duration = Duration::from_millis(900);

impl Engine {
    pub(super) fn virtual_attribute(
        &self,
        file: FileKey,
        name: &[u8],
        _caller: Caller,
    ) -> Option<Result<Vec<u8>, Errno>> {
        match name {
            b"user.atlas.state" => {
                Some(self.file_row(file).map(|(state, _)| state.as_str().into()))
            }
            b"user.atlas.digest" => {
                Some(self.settled(file, |row| row.digests.map(|d| d.blake3.to_string())))
            }
            b"user.atlas.manifest" => {
                let name = self.settled(file, |row| row.manifest.map(|m| m.sha256.hex()));
                Some(name.and_then(|hex| {
                    let hex = String::from_utf8(hex).map_err(|_| Errno::IO)?;
                    self.manifest_by_hex(&hex)?.ok_or(Errno::NODATA)
                }))
            }
            _ => None,
        }
    }

    /// State and row of the content that a file has now.
    pub(super) fn file_row(&self, file: FileKey) -> Result<(State, Option<VersionRow>), Errno> {
        let (live, then) = {
            let ledger = lock(&self.ledger);
            (ledger.file_state(file), ledger.file_identity(file))
        };
        let now = self
            .backing
            .identity(file)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        match live {
            Some((state, row)) if then.is_none_or(|t| t == now) => {
                let node = row.as_ref().map(|r| r.node);
                let state = node.map_or(state, |node| logging::state(self, node, state));
                Ok((state, row))
            }
            _ => {
                let row = self.index.known(&now).map_err(|_| Errno::IO)?;
                let state = match &row {
                    Some(row) => row.state,
                    None if now.size == 0 => State::Empty,
                    None => State::Unattested,
                };
                Ok((state, row))
            }
        }
    }

    fn settled(
        &self,
        file: FileKey,
        pick: impl Fn(&VersionRow) -> Option<String>,
    ) -> Result<Vec<u8>, Errno> {
        let deadline = Instant::now() + SEAL_WAIT;
        loop {
            let (state, row) = self.file_row(file)?;
            match state {
                State::Open => return Err(Errno::NODATA),
                State::Held | State::Digesting | State::Waiting => {
                    if Instant::now() >= deadline {
                        return Err(Errno::AGAIN);
                    }
                    std::thread::sleep(TICK);
                }
                _ => {
                    return row
                        .as_ref()
                        .and_then(&pick)
                        .map(String::into_bytes)
                        .ok_or(Errno::NODATA);
                }
            }
        }
    }

    pub(super) fn read_virtual(
        &self,
        name: &Path,
        _caller: Caller,
    ) -> Option<Result<Vec<u8>, Errno>> {
        match name.as_os_str().as_bytes() {
            b"status" => {
                let mut json = serde_json::to_vec_pretty(&self.status()).unwrap_or_default();
                json.push(b'\n');
                Some(Ok(json))
            }
            b"metrics" => Some(Ok(self.metrics().into_bytes())),
            b"sync" => Some(Ok(match self.sync(SYNC_WAIT) {
                0 => b"ok\n".to_vec(),
                pending => format!("pending {pending}\n").into_bytes(),
            })),
            b"mark" => Some(Ok(Vec::new())),
            other if other.starts_with(b"log/") => self.log_file(other).transpose(),
            other => {
                let hex = other.strip_prefix(b"by-digest/")?.strip_suffix(b".c2pa")?;
                self.manifest_by_hex(std::str::from_utf8(hex).ok()?)
                    .transpose()
            }
        }
    }

    /// A manifest by its own SHA-256, or the newest one of the content with this BLAKE3 or SHA-256.
    fn manifest_by_hex(&self, hex: &str) -> Result<Option<Vec<u8>>, Errno> {
        let Ok(name) = Sha256::from_hex(hex) else {
            return Ok(None);
        };
        if let Some(bytes) = self
            .store
            .object(Object::Manifest, &name)
            .map_err(|_| Errno::IO)?
        {
            return Ok(Some(bytes));
        }
        let prefix = DigestPrefix {
            alg: None,
            hex: hex.to_owned(),
        };
        let rows = self.index.by_digest(&prefix).map_err(|_| Errno::IO)?;
        match rows.iter().rev().find_map(|r| r.manifest) {
            Some(m) => self
                .store
                .object(Object::Manifest, &m.sha256)
                .map_err(|_| Errno::IO),
            None => Ok(None),
        }
    }

    pub(super) fn write_virtual(
        &self,
        name: &Path,
        bytes: &[u8],
        caller: Caller,
    ) -> Result<(), Errno> {
        if name.as_os_str().as_bytes() != b"mark" {
            return Err(Errno::ACCESS);
        }
        let label = std::str::from_utf8(bytes).map_err(|_| Errno::ILSEQ)?.trim();
        self.mark(caller.tid.0, label).map_err(|_| Errno::INVAL)
    }

    /// Waits until every version that has ended by now has come to rest; how many have not when time is up.
    pub(super) fn sync(&self, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        let ended = lock(&self.ledger).unsettled();
        loop {
            let left = lock(&self.ledger).still_unsettled(&ended);
            if left == 0 {
                self.flush_scribe(deadline);
            }
            if left == 0 || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(TICK.min(Duration::from_millis(5)));
        }
    }

    /// Rows that the scribe still holds are part of what was promised.
    pub(super) fn flush_scribe(&self, deadline: Instant) {
        let (tell, told) = std::sync::mpsc::channel();
        if self.scribe.send(super::Work::Sync(tell)).is_ok() {
            // A timeout here means that the index is slow, not that a seal is missing.
            let _ = told.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}
