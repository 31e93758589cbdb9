//! What the kernel's interfaces remember and answer: report items and registers. No clock, no files, no threads: see `simulator` and `tree`.
//!
//! As in Linux, a report item keeps one input of up to 64 bytes and counts its changes; the first read of its output makes a quote,
//! which is kept until the input changes again; and only then is a wrong length of the input found.

mod command;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::collateral::CollateralSpec;
use crate::pki::World;
use crate::quote::Shape;
use crate::td::{Td, made_up};
pub use command::{Command, Effect, Fault, millis};

/// The length that TDX wants of an input; a report item takes no more of any kind.
pub const REPORT_DATA: usize = 64;

/// An error number as the kernel returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<Errno> for io::Error {
    fn from(e: Errno) -> Self {
        Self::from_raw_os_error(e.0)
    }
}

/// A report item, as long as the machine runs; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemId(pub u64);

/// One directory below `report`.
#[derive(Debug)]
struct Item {
    name: String,
    inblob: Vec<u8>,
    /// How often the input was set.
    written: u64,
    /// The quote, and the count that it was made at.
    outblob: Option<(u64, Arc<[u8]>)>,
}

/// How quotes come to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Their format.
    pub shape: Shape,
    /// How long each takes.
    pub latency: Duration,
    /// Zero bytes up to this length follow each, as on some clouds; zero for none.
    pub pad: usize,
    /// Each is cut to this length.
    pub truncate: Option<usize>,
}

impl Default for Settings {
    /// Version 4, at once, as it is.
    fn default() -> Self {
        Self {
            shape: Shape::V4,
            latency: Duration::ZERO,
            pad: 0,
            truncate: None,
        }
    }
}

/// A simulated guest and its kernel.
#[derive(Debug)]
pub struct Machine {
    world: World,
    td: Td,
    settings: Settings,
    collateral: CollateralSpec,
    provider: bool,
    items: BTreeMap<ItemId, Item>,
    last_item: u64,
    faults: VecDeque<Fault>,
    /// How many of the next inputs somebody else overwrites at once.
    races: u64,
    boots: u64,
    quotes: u64,
}

/// What a read of an output comes to.
#[derive(Debug)]
pub enum Outblob {
    /// It was made before.
    Ready(Arc<[u8]>),
    /// It takes [`Pending::wait`]; then [`Machine::finish`] has it.
    Pending(Pending),
}

/// A quote in the making: what it says is fixed already.
#[derive(Debug)]
pub struct Pending {
    /// How long it takes.
    pub wait: Duration,
    item: ItemId,
    written: u64,
    blob: Vec<u8>,
    race: bool,
}

impl Machine {
    /// Just booted.
    pub fn new(world: World, td: Td, settings: Settings, collateral: CollateralSpec) -> Self {
        Self {
            world,
            td,
            settings,
            collateral,
            provider: true,
            items: BTreeMap::new(),
            last_item: 0,
            faults: VecDeque::new(),
            races: 0,
            boots: 1,
            quotes: 0,
        }
    }

    /// The keys behind its quotes.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The guest as it is now.
    pub fn td(&self) -> &Td {
        &self.td
    }

    /// What the collateral of its platform says, as JSON.
    pub fn collateral(&self) -> Result<String> {
        self.world.collateral(&self.collateral)
    }

    /// `mkdir` below `report`.
    pub fn make_item(&mut self, name: &str) -> Result<ItemId, Errno> {
        if !self.provider {
            return Err(Errno(libc::ENXIO));
        }
        if self.item(name).is_some() {
            return Err(Errno(libc::EEXIST));
        }
        self.last_item += 1;
        let id = ItemId(self.last_item);
        let item = Item {
            name: name.to_owned(),
            inblob: Vec::new(),
            written: 0,
            outblob: None,
        };
        self.items.insert(id, item);
        Ok(id)
    }

    /// `rmdir` below `report`.
    pub fn drop_item(&mut self, name: &str) -> Result<(), Errno> {
        let id = self.item(name).ok_or(Errno(libc::ENOENT))?;
        self.items.remove(&id);
        Ok(())
    }

    /// The item of this name.
    pub fn item(&self, name: &str) -> Option<ItemId> {
        let mut named = self.items.iter().filter(|(_, item)| item.name == name);
        named.next().map(|(id, _)| *id)
    }

    /// Whether it is still there.
    pub fn has_item(&self, id: ItemId) -> bool {
        self.items.contains_key(&id)
    }

    /// All items with their names.
    pub fn items(&self) -> impl Iterator<Item = (ItemId, &str)> {
        self.items.iter().map(|(id, item)| (*id, &*item.name))
    }

    /// `provider`: the name of the driver.
    pub fn provider(&self, id: ItemId) -> Result<String, Errno> {
        self.get(id)?;
        if self.provider {
            Ok("tdx_guest\n".to_owned())
        } else {
            Err(Errno(libc::ENXIO))
        }
    }

    /// `generation`: how often the input was set.
    pub fn generation(&self, id: ItemId) -> Result<String, Errno> {
        Ok(format!("{}\n", self.get(id)?.written))
    }

    /// The final close of a written `inblob`. Whoever closed it learns nothing of an error.
    pub fn commit(&mut self, id: ItemId, inblob: &[u8]) -> Result<(), Errno> {
        let raced = self.races > 0;
        let item = self.items.get_mut(&id).ok_or(Errno(libc::ENOENT))?;
        item.inblob = inblob.to_vec();
        item.written += 1;
        if raced {
            self.races -= 1;
            item.inblob = foreign().to_vec();
            item.written += 1;
        }
        Ok(())
    }

    /// The first read of an open `outblob`.
    pub fn begin(&mut self, id: ItemId) -> Result<Outblob, Errno> {
        let item = self.get(id)?;
        if item.inblob.is_empty() {
            return Err(Errno(libc::EINVAL));
        }
        if let Some((at, blob)) = &item.outblob
            && *at == item.written
        {
            return Ok(Outblob::Ready(Arc::clone(blob)));
        }
        if !self.provider {
            return Err(Errno(libc::ENXIO));
        }
        let written = item.written;
        // Only the driver knows how long the input has to be.
        let mut report_data: [u8; REPORT_DATA] = item
            .inblob
            .as_slice()
            .try_into()
            .map_err(|_| Errno(libc::EINVAL))?;
        let (mut wait, mut race, mut flip) = (self.settings.latency, false, None);
        match self.faults.pop_front() {
            None => {}
            Some(Fault::Fail(e)) => return Err(e),
            Some(Fault::Hang(more)) => wait += more,
            Some(Fault::Swap) => report_data = foreign(),
            Some(Fault::RaceLate) => race = true,
            Some(Fault::Flip(at)) => flip = Some(at),
        }
        let mut blob = self
            .world
            .quote(self.settings.shape, &self.td, &report_data)
            .map_err(|_| Errno(libc::EIO))?;
        if let Some(byte) = flip.and_then(|at: usize| blob.get_mut(at)) {
            *byte ^= 1;
        }
        blob.resize(blob.len().max(self.settings.pad), 0);
        blob.truncate(self.settings.truncate.unwrap_or(usize::MAX));
        Ok(Outblob::Pending(Pending {
            wait,
            item: id,
            written,
            blob,
            race,
        }))
    }

    /// When the time of a quote is over.
    pub fn finish(&mut self, pending: Pending) -> Result<Arc<[u8]>, Errno> {
        let blob: Arc<[u8]> = pending.blob.into();
        let item = self
            .items
            .get_mut(&pending.item)
            .ok_or(Errno(libc::ENOENT))?;
        item.outblob = Some((pending.written, Arc::clone(&blob)));
        if pending.race {
            item.inblob = foreign().to_vec();
            item.written += 1;
        }
        self.quotes += 1;
        Ok(blob)
    }

    /// A write to the file of a register: how many bytes were taken. As sysfs does, what goes past the end is left to a next write.
    pub fn extend(&mut self, register: usize, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        if offset >= 48 {
            return Err(Errno(libc::EFBIG));
        }
        let data = &data[..data.len().min(48 - offset as usize)];
        let digest = data.try_into().map_err(|_| Errno(libc::EINVAL))?;
        self.td.extend(register, digest);
        Ok(data.len())
    }

    /// Obeys whoever runs the test; what is left to do for the caller comes back.
    pub fn command(&mut self, command: Command) -> Result<Effect> {
        match command {
            Command::Order(fault, times) => {
                self.faults.extend(std::iter::repeat_n(fault, times));
            }
            Command::Race(times) => self.races += times,
            Command::Calm => {
                self.faults.clear();
                self.races = 0;
            }
            Command::Extend(register, data) => self.td.extend(register, &data),
            Command::Reboot => {
                self.td.reboot()?;
                self.items.clear();
                self.boots += 1;
            }
            Command::Debug(on) => self.td.set_debug(on),
            Command::Provider(on) => self.provider = on,
            Command::Shape(shape) => self.settings.shape = shape,
            Command::Latency(latency) => self.settings.latency = latency,
            Command::Pad(length) => self.settings.pad = length,
            Command::Truncate(length) => self.settings.truncate = length,
            Command::Tcb(status) => {
                self.collateral = self.collateral.clone().status(status);
                return Ok(Effect::Collateral(self.collateral()?));
            }
        }
        Ok(Effect::None)
    }

    /// What a test may want to know of it.
    pub fn status(&self) -> Value {
        json!({
            "simulated": true,
            "boots": self.boots,
            "quotes": self.quotes,
            "items": self.items.len(),
            "faults": self.faults.len(),
            "races": self.races,
            "shape": self.settings.shape.word(),
            "latency_ms": self.settings.latency.as_millis() as u64,
            "fmspc": self.world.options().fmspc.to_string(),
            "tcb": self.collateral.tcb_status.word(),
        })
    }

    fn get(&self, id: ItemId) -> Result<&Item, Errno> {
        self.items.get(&id).ok_or(Errno(libc::ENOENT))
    }
}

/// Sixty-four bytes that nobody asked for.
fn foreign() -> [u8; REPORT_DATA] {
    let mut bytes = [0xee; REPORT_DATA];
    bytes[..48].copy_from_slice(&made_up("somebody else"));
    bytes
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
