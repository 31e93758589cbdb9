//! The names, modes and open files of the simulated interfaces, as configfs and sysfs have them. No requests of a kernel: see `mount`.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ccel;
use crate::machine::{Errno, ItemId, REPORT_DATA};
use crate::simulator::Simulator;
use crate::td::{Digest, Td};

/// Something with an inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The mount itself.
    Root,
    /// `report`: configfs-tsm.
    Reports,
    /// `report/NAME`.
    Item(ItemId),
    /// `report/NAME/ATTRIBUTE`.
    Attribute(ItemId, Attribute),
    /// `measurements`: the registers in sysfs.
    Measurements,
    /// `measurements/NAME`.
    Measurement(Measurement),
    /// `ccel`: the firmware's event log.
    Firmware,
    /// `ccel/CCEL`: the log.
    Log,
    /// `ccel/table`: the ACPI table.
    Table,
    /// `control`: for whoever runs the test.
    Control,
    /// `status`: for whoever runs the test.
    Status,
}

/// A file of a report item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// Name of the driver.
    Provider,
    /// How often the input was set.
    Generation,
    /// The input.
    Inblob,
    /// The quote.
    Outblob,
}

const ATTRIBUTES: [(&str, Attribute); 4] = [
    ("provider", Attribute::Provider),
    ("generation", Attribute::Generation),
    ("inblob", Attribute::Inblob),
    ("outblob", Attribute::Outblob),
];

/// A file below `measurements`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measurement {
    /// The guest as it was built.
    Mrtd,
    /// A register.
    Rtmr(usize),
    /// The host's configuration.
    Mrconfigid,
    /// The host's owner.
    Mrowner,
    /// The host's configuration by the owner.
    Mrownerconfig,
}

const MEASUREMENTS: [(&str, Measurement); 8] = [
    ("mrtd:sha384", Measurement::Mrtd),
    ("rtmr0:sha384", Measurement::Rtmr(0)),
    ("rtmr1:sha384", Measurement::Rtmr(1)),
    ("rtmr2:sha384", Measurement::Rtmr(2)),
    ("rtmr3:sha384", Measurement::Rtmr(3)),
    ("mrconfigid", Measurement::Mrconfigid),
    ("mrowner", Measurement::Mrowner),
    ("mrownerconfig", Measurement::Mrownerconfig),
];

impl Measurement {
    fn of(self, td: &Td) -> Digest {
        match self {
            Self::Mrtd => td.mrtd,
            Self::Rtmr(register) => td.rtmr[register],
            Self::Mrconfigid => td.mrconfigid,
            Self::Mrowner => td.mrowner,
            Self::Mrownerconfig => td.mrownerconfig,
        }
    }
}

/// Inode numbers below this one are of files that are always there.
const FIRST_ITEM: u64 = 0x100;
/// An item and its attributes have so many, one behind the other.
const PER_ITEM: u64 = 0x10;

impl Node {
    /// Its inode number; not used twice.
    pub fn number(self) -> u64 {
        match self {
            Self::Root => 1,
            Self::Reports => 2,
            Self::Measurements => 3,
            Self::Firmware => 4,
            Self::Log => 5,
            Self::Table => 6,
            Self::Control => 7,
            Self::Status => 8,
            Self::Measurement(which) => 0x10 + place(&MEASUREMENTS, which),
            Self::Item(id) => FIRST_ITEM + id.0 * PER_ITEM,
            Self::Attribute(id, which) => {
                FIRST_ITEM + id.0 * PER_ITEM + 1 + place(&ATTRIBUTES, which)
            }
        }
    }

    /// What has this number, if it ever was.
    pub fn of(number: u64) -> Option<Self> {
        if let Some(number) = number.checked_sub(FIRST_ITEM) {
            let (id, part) = (ItemId(number / PER_ITEM), number % PER_ITEM);
            return match part.checked_sub(1) {
                None => Some(Self::Item(id)),
                Some(i) => at(&ATTRIBUTES, i).map(|which| Self::Attribute(id, which)),
            };
        }
        match number {
            1 => Some(Self::Root),
            2 => Some(Self::Reports),
            3 => Some(Self::Measurements),
            4 => Some(Self::Firmware),
            5 => Some(Self::Log),
            6 => Some(Self::Table),
            7 => Some(Self::Control),
            8 => Some(Self::Status),
            _ => at(&MEASUREMENTS, number.checked_sub(0x10)?).map(Self::Measurement),
        }
    }

    /// Whether there can be something below it.
    pub fn is_dir(self) -> bool {
        matches!(
            self,
            Self::Root | Self::Reports | Self::Item(_) | Self::Measurements | Self::Firmware
        )
    }

    /// Permissions, as the kernel gives them.
    pub fn mode(self) -> u16 {
        match self {
            node if node.is_dir() => 0o755,
            Self::Attribute(_, Attribute::Inblob) | Self::Control => 0o200,
            Self::Measurement(Measurement::Rtmr(_)) => 0o644,
            Self::Log | Self::Table | Self::Status => 0o400,
            _ => 0o444,
        }
    }

    /// configfs has no seek in binary attributes.
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Self::Attribute(_, Attribute::Inblob | Attribute::Outblob)
        )
    }
}

fn place<T: PartialEq>(table: &[(&str, T)], which: T) -> u64 {
    table.iter().position(|(_, t)| *t == which).unwrap_or(0) as u64
}

fn at<T: Copy>(table: &[(&str, T)], i: u64) -> Option<T> {
    table.get(i as usize).map(|(_, which)| *which)
}

/// The simulated interfaces as a tree.
#[derive(Debug)]
pub struct Tree {
    simulator: Arc<Simulator>,
    /// Kernels before 6.16 do not show the registers.
    rtmr: bool,
    log: Vec<u8>,
}

impl Tree {
    /// The tree of this machine; without `measurements` unless `rtmr`.
    pub fn new(simulator: Arc<Simulator>, rtmr: bool) -> Self {
        let log = ccel::log(&ccel::boot_events());
        Self {
            simulator,
            rtmr,
            log,
        }
    }

    /// The machine behind it.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Whether it is there now.
    pub fn exists(&self, node: Node) -> bool {
        match node {
            Node::Item(id) | Node::Attribute(id, _) => self.simulator.machine().has_item(id),
            Node::Measurements | Node::Measurement(_) => self.rtmr,
            _ => true,
        }
    }

    /// What is below a directory.
    pub fn list(&self, dir: Node) -> Vec<(String, Node)> {
        let named = |name: &str, node| (name.to_owned(), node);
        match dir {
            Node::Root => {
                let mut all = vec![
                    named("report", Node::Reports),
                    named("ccel", Node::Firmware),
                    named("control", Node::Control),
                    named("status", Node::Status),
                ];
                if self.rtmr {
                    all.push(named("measurements", Node::Measurements));
                }
                all
            }
            Node::Reports => {
                let machine = self.simulator.machine();
                let items = machine.items();
                items
                    .map(|(id, name)| named(name, Node::Item(id)))
                    .collect()
            }
            Node::Item(id) => {
                let all = ATTRIBUTES.iter();
                all.map(|(name, which)| named(name, Node::Attribute(id, *which)))
                    .collect()
            }
            Node::Measurements => {
                let all = MEASUREMENTS.iter();
                all.map(|(name, which)| named(name, Node::Measurement(*which)))
                    .collect()
            }
            Node::Firmware => vec![named("CCEL", Node::Log), named("table", Node::Table)],
            _ => Vec::new(),
        }
    }

    /// What `stat` says of its length: a page for text, the limit of what is written, nothing for what is made on demand.
    pub fn size(&self, node: Node) -> u64 {
        match node {
            Node::Attribute(_, Attribute::Provider | Attribute::Generation) => 4096,
            Node::Measurement(_) => 48,
            Node::Log => self.log.len() as u64,
            Node::Table => 56,
            _ => 0,
        }
    }

    /// Opens a file. Even root gets EACCES for what the mode of the file does not say.
    pub fn open(&self, node: Node, read: bool, write: bool) -> Result<Open, Errno> {
        if !self.exists(node) {
            return Err(Errno(libc::ENOENT));
        }
        let mode = node.mode();
        if (read && mode & 0o444 == 0) || (write && mode & 0o222 == 0) {
            return Err(Errno(libc::EACCES));
        }
        Ok(Open {
            node,
            buffer: Mutex::new(Buffer::Empty),
        })
    }

    /// Everything in an open file, from its beginning. May take as long as a quote.
    pub fn read(&self, open: &Open) -> Result<Arc<[u8]>, Errno> {
        match open.node {
            Node::Attribute(id, which) => {
                let mut buffer = open.buffer();
                match &*buffer {
                    Buffer::Writing(..) => return Err(Errno(libc::ETXTBSY)),
                    Buffer::Filled(bytes) => return Ok(Arc::clone(bytes)),
                    Buffer::Empty | Buffer::Reading => *buffer = Buffer::Reading,
                }
                let bytes: Arc<[u8]> = match which {
                    Attribute::Provider => self.simulator.machine().provider(id)?.as_bytes().into(),
                    Attribute::Generation => {
                        self.simulator.machine().generation(id)?.as_bytes().into()
                    }
                    Attribute::Outblob => self.simulator.outblob(id)?,
                    Attribute::Inblob => return Err(Errno(libc::EACCES)),
                };
                // What was read first is read to the end, whatever happens to the item.
                *buffer = Buffer::Filled(Arc::clone(&bytes));
                Ok(bytes)
            }
            Node::Measurement(which) => {
                Ok(which.of(self.simulator.machine().td()).as_slice().into())
            }
            Node::Log => Ok(self.log.as_slice().into()),
            Node::Table => Ok(ccel::table(&self.log).into()),
            Node::Status => {
                let text = format!("{:#}\n", self.simulator.machine().status());
                Ok(text.into_bytes().into())
            }
            _ => Err(Errno(libc::EACCES)),
        }
    }

    /// A write to an open file: how many bytes were taken.
    pub fn write(&self, open: &Open, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        match open.node {
            Node::Attribute(_, Attribute::Inblob) => {
                let mut buffer = open.buffer();
                let (mut bytes, already) = match &mut *buffer {
                    Buffer::Writing(bytes, dirty) => (std::mem::take(bytes), *dirty),
                    Buffer::Empty => (Vec::new(), false),
                    Buffer::Reading | Buffer::Filled(_) => return Err(Errno(libc::ETXTBSY)),
                };
                let end = (offset as usize).saturating_add(data.len());
                let fits = end <= REPORT_DATA;
                if fits {
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[offset as usize..end].copy_from_slice(data);
                }
                // Linux commits at the close even when the only write was refused: then as an empty input.
                *buffer = Buffer::Writing(bytes, already || !data.is_empty());
                if fits {
                    Ok(data.len())
                } else {
                    Err(Errno(libc::EFBIG))
                }
            }
            Node::Measurement(Measurement::Rtmr(register)) => {
                self.simulator.machine().extend(register, offset, data)
            }
            Node::Control => {
                let text = str::from_utf8(data).map_err(|_| Errno(libc::EINVAL))?;
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    self.simulator
                        .control(line)
                        .map_err(|_| Errno(libc::EINVAL))?;
                }
                Ok(data.len())
            }
            _ => Err(Errno(libc::EACCES)),
        }
    }

    /// The file is closed: an input takes effect. Its result is of no interest to anybody, as in Linux.
    pub fn close(&self, open: &Open) {
        let Node::Attribute(id, Attribute::Inblob) = open.node else {
            return;
        };
        if let Buffer::Writing(bytes, dirty @ true) = &mut *open.buffer() {
            *dirty = false;
            let _ = self.simulator.machine().commit(id, bytes);
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct Open {
    /// Of what.
    pub node: Node,
    buffer: Mutex<Buffer>,
}

impl Open {
    fn buffer(&self) -> std::sync::MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What configfs keeps for each open file of an item.
#[derive(Debug)]
enum Buffer {
    Empty,
    /// Reading was tried; writing is over for this descriptor.
    Reading,
    Filled(Arc<[u8]>),
    /// What was written, and whether a close has to commit it.
    Writing(Vec<u8>, bool),
}

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;
