//! A machine that many ask at once, with the time that quotes take. Not the files that it is asked through: see `tree` and `mount`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

use crate::machine::{Effect, Errno, ItemId, Machine, Outblob};

/// Shared by everything that serves the machine.
#[derive(Debug)]
pub struct Simulator {
    machine: Mutex<Machine>,
    /// One quote at a time in a guest, whoever asks.
    quoting: Mutex<()>,
    /// Where the root certificate and collateral lie, for whoever verifies.
    dir: Option<PathBuf>,
}

impl Simulator {
    /// In memory only.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine: Mutex::new(machine),
            quoting: Mutex::new(()),
            dir: None,
        }
    }

    /// Leaves `root.pem` and `collateral/FMSPC.json` in `dir`, now and whenever they change.
    pub fn published(machine: Machine, dir: &Path) -> Result<Self> {
        let mut simulator = Self::new(machine);
        simulator.dir = Some(dir.to_path_buf());
        let root = dir.join("root.pem");
        let (pem, collateral) = {
            let machine = simulator.machine();
            (machine.world().root_pem().to_owned(), machine.collateral()?)
        };
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&root, pem))
            .with_context(|| format!("cannot write {}", root.display()))?;
        simulator.publish(&collateral)?;
        Ok(simulator)
    }

    /// The machine, for as long as it takes to ask it one thing.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an open `outblob` is filled with. Takes as long as the quote and those before it.
    pub fn outblob(&self, id: ItemId) -> Result<Arc<[u8]>, Errno> {
        let _turn = self.quoting.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.machine().begin(id)?;
        match answer {
            Outblob::Ready(blob) => Ok(blob),
            Outblob::Pending(pending) => {
                thread::sleep(pending.wait);
                self.machine().finish(pending)
            }
        }
    }

    /// Obeys one command, as text.
    pub fn control(&self, line: &str) -> Result<()> {
        let effect = self.machine().command(line.parse()?)?;
        match effect {
            Effect::None => Ok(()),
            Effect::Collateral(text) => self.publish(&text),
        }
    }

    /// Whole or not at all: a verifier may read it at any time.
    fn publish(&self, collateral: &str) -> Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let dir = dir.join("collateral");
        let name = self.machine().world().options().fmspc.to_string();
        let (path, new) = (
            dir.join(format!("{name}.json")),
            dir.join(format!("{name}.new")),
        );
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(&new, collateral))
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
