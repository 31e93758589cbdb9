//! Random operations from a seed: the same seed and the same answers give the same operations. Knows no tree and no result.

use rustix::fs::OFlags;

/// Names that operations are about: few, so that they meet.
const FILES: [&str; 10] = [
    "a", "b", "c", "d", "x/a", "x/b", "y/a", "y/b", "x/z/a", "y/x/a",
];
const DIRS: [&str; 5] = ["x", "y", "x/z", "y/x", "."];

/// Open files of one worker.
pub const SLOTS: u32 = 4;

/// Sizes stay near the pages' bounds, where mistakes live.
const LARGEST: u64 = 70_000;

/// A small generator (xorshift), so that a seed means the same everywhere.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.number() >> 16) % n
    }

    /// One of them.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of[at]
    }

    fn name(&mut self) -> &'static str {
        if self.below(24) == 0 {
            self.one(&DIRS)
        } else {
            self.one(&FILES)
        }
    }

    fn flags(&mut self) -> u32 {
        let mut flags = self.one(&[
            OFlags::RDONLY,
            OFlags::RDONLY,
            OFlags::WRONLY,
            OFlags::RDWR,
            OFlags::RDWR,
        ]);
        for (flag, one_in) in [
            (OFlags::CREATE, 1),
            (OFlags::EXCL, 8),
            (OFlags::TRUNC, 4),
            (OFlags::APPEND, 5),
            (OFlags::NOFOLLOW, 12),
            (OFlags::DIRECTORY, 40),
            (OFlags::SYNC, 20),
            (OFlags::DSYNC, 20),
            (OFlags::NOATIME, 30),
        ] {
            if self.below(one_in) == 0 {
                flags |= flag;
            }
        }
        if self.below(4) == 0 {
            flags -= OFlags::CREATE;
        }
        flags.bits()
    }

    /// Where a write or a read is.
    fn place(&mut self) -> u64 {
        let page = self.below(16) * 4096;
        match self.below(4) {
            0 => 0,
            1 => page,
            2 => page + self.below(9),
            _ => self.below(LARGEST),
        }
    }

    fn length(&mut self) -> u64 {
        match self.below(4) {
            0 => 1 + self.below(20),
            1 => 4096,
            2 => 1 + self.below(10_000),
            _ => 1 + self.below(3),
        }
    }

    /// An operation on one of the open files `used`, or on a name; `free` is a slot that an open may use.
    pub fn operation(&mut self, used: &[u32], free: Option<u32>, maps: bool) -> String {
        if let Some(slot) = free
            && (used.is_empty() && self.below(3) > 0 || self.below(5) == 0)
        {
            let (name, flags) = (self.name(), self.flags());
            let mode = self.one(&[0o644, 0o600, 0o666, 0o664]);
            return format!("open {slot} {name} {flags} {mode}");
        }
        if !used.is_empty() && self.below(3) > 0 {
            return self.on_file(used, maps);
        }
        self.on_name()
    }

    fn on_file(&mut self, used: &[u32], maps: bool) -> String {
        let slot = self.one(used);
        let (at, len, seed) = (self.place(), self.length(), self.number() >> 1);
        match self.below(if maps { 26 } else { 24 }) {
            0..=4 => format!("close {slot}"),
            5..=8 => format!("pwrite {slot} {at} {len} {seed}"),
            9..=10 => format!("write {slot} 0 {len} {seed}"),
            11 => format!("dupwrite {slot} {at} {len} {seed}"),
            12..=13 => format!("pread {slot} {at} {len}"),
            14 => format!("read {slot} 0 {len}"),
            15 => format!("ftruncate {slot} {at}"),
            16 => {
                // Plain, keeping the size, punching, zeroing twice, and punching without what it needs. Not collapsing and inserting: see SEMANTICS.
                let mode = self.one(&[0, 1, 3, 16, 17, 2]);
                format!("fallocate {slot} {mode} {at} {len}")
            }
            17..=18 => {
                let (to, to_at) = (self.one(used), self.place());
                format!("copy {slot} {at} {to} {to_at} {len}")
            }
            19 => {
                let (to, to_at) = (self.one(used), self.place());
                format!("sendfile {slot} {at} {to} {to_at} {len}")
            }
            20 => format!("fsync {slot}"),
            21 => format!("flock {slot} {}", self.below(3)),
            22..=23 => {
                let whence = self.below(5);
                format!("seek {slot} {whence} {at}")
            }
            24 => format!("mapread {slot} {}", 1 + self.below(6000)),
            _ => {
                let len = 1 + self.below(6000);
                format!("mapwrite {slot} {len} {} {seed}", self.below(len))
            }
        }
    }

    fn on_name(&mut self) -> String {
        let (name, other) = (self.name(), self.name());
        match self.below(30) {
            0..=4 => {
                let flags = self.one(&[0, 0, 0, 1, 2]);
                format!("rename {name} {other} {flags}")
            }
            5..=6 => format!("link {name} {other}"),
            7 => format!("symlink {name} {other}"),
            8 => format!("unlink {name}"),
            9..=10 => format!("mkdir {} {}", self.one(&DIRS), 0o755),
            11..=12 => format!("mkdir {} {}", self.one(&DIRS), 0o755),
            13 => format!("rmdir {}", self.one(&DIRS)),
            14 => format!("readdir {}", self.one(&DIRS)),
            // Set-ID bits are not here: SEMANTICS says what becomes of them.
            15 if DIRS.contains(&name) => format!("chmod {name} {}", self.one(&[0o755, 0o777])),
            15 => format!(
                "chmod {name} {}",
                self.one(&[0o644, 0o666, 0o600, 0o444, 0o755, 0])
            ),
            16 => format!("chown {name} {} {}", self.one(&[0, 65534]), 65534),
            17 => format!(
                "utimens {name} {} {}",
                self.below(2_000_000_000),
                self.below(1_000_000_000)
            ),
            18 => format!(
                "setxattr {name} user.{} {} {}",
                self.one(&["k", "l"]),
                self.below(99),
                self.below(3)
            ),
            19 => format!("getxattr {name} user.{}", self.one(&["k", "l", "m"])),
            20 => format!("listxattr {name}"),
            21 => format!("removexattr {name} user.{}", self.one(&["k", "l"])),
            22 => format!("statfs {name}"),
            23 => format!("readlink {name}"),
            24..=25 => format!("truncate {name} {}", self.place()),
            26 => format!("tmpfile {}", self.one(&DIRS)),
            _ => format!("stat {name}"),
        }
    }
}
