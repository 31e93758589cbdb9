//! Filesystems that SOURCE can lie on, each made for one test and gone with it. Not what is tested on them: see `tests/stores.rs`.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::mount::{UnmountFlags, unmount};

use crate::mount::NOBODY;
use crate::sandbox;
use crate::wait;

/// What SOURCE lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Memory: no `FICLONE`, no journal.
    Tmpfs,
    /// On a loop device.
    Ext4,
    /// On a loop device, with reflink.
    Xfs,
    /// On a loop device; each subvolume has a device number of its own.
    Btrfs,
    /// overlayfs whose layers lie on one filesystem: inode numbers survive the copying up of a file.
    Overlay,
    /// overlayfs whose layers lie on two, without `xino`: a file that is copied up is another inode.
    OverlayApart,
    /// A FUSE filesystem over a plain directory: no `O_TMPFILE`, no birth times, no file handles.
    Fuse,
}

/// A store that is mounted at `at`. Unmounted when it goes.
#[derive(Debug)]
pub struct Mounted {
    /// The last one first.
    points: Vec<PathBuf>,
    /// Of a loop device, and its filesystem's type.
    image: Option<(PathBuf, &'static str)>,
}

impl Store {
    /// Makes it, mounted at `at`, with what it needs in `room`, and with these files: those of an overlay lie in its lower layer. `None`,
    /// after a line on the terminal, where this machine has none.
    pub fn make(self, at: &Path, room: &Path, files: &[(&str, &[u8])]) -> Option<Mounted> {
        sandbox::enter();
        fs::create_dir_all(at).expect("own directory");
        let made = match self {
            Self::Tmpfs => {
                sandbox::small_disk(at, 512 << 20);
                Ok(Mounted::at(at))
            }
            Self::Ext4 => on_a_loop(at, room, "ext4", &["-q", "-F"]),
            Self::Xfs => on_a_loop(at, room, "xfs", &["-q", "-f", "-m", "reflink=1"]),
            Self::Btrfs => on_a_loop(at, room, "btrfs", &["-q", "-f"]),
            Self::Overlay => overlay(at, room, files, false),
            Self::OverlayApart => overlay(at, room, files, true),
            Self::Fuse => fuse(at, room),
        };
        match made {
            Ok(made) => {
                if !self.is_overlay() {
                    fill(at, files);
                }
                Some(made)
            }
            Err(why) => {
                // Not `eprintln`, which the test harness would keep to itself: a test that did not run must be seen.
                let name = std::thread::current().name().unwrap_or("?").to_owned();
                let _ = writeln!(std::io::stderr(), "SKIPPED {name}: no {self:?} here: {why}");
                None
            }
        }
    }

    /// Its files may have to be copied up.
    pub const fn is_overlay(self) -> bool {
        matches!(self, Self::Overlay | Self::OverlayApart)
    }
}

impl Mounted {
    fn at(point: &Path) -> Self {
        Self {
            points: vec![point.to_owned()],
            image: None,
        }
    }

    /// Unmounts what is on a loop device and mounts it again, with something else mounted in between: as after a reboot.
    pub fn again(&mut self) {
        let (image, kind) = self.image.as_ref().expect("it is on a loop device");
        let at = self.points.first().expect("it is mounted").clone();
        unmount(&at, UnmountFlags::empty()).expect("nobody uses it");
        let between = image.with_extension("between");
        sandbox::small_disk(&between, 1 << 20);
        mount_loop(image, kind, &at).expect("it was mounted before");
        self.points.push(between);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for point in &self.points {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        if let Some((image, _)) = &self.image {
            let _ = fs::remove_file(image);
        }
    }
}

fn run(program: &str, args: &[&str], paths: &[&Path]) -> Result<(), String> {
    let out = Command::new(program).args(args).args(paths).output();
    let Output { status, stderr, .. } = out.map_err(|e| format!("{program}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(said.lines().last().unwrap_or("it failed").to_owned())
}

/// The kernel frees the device when it is unmounted.
fn on_a_loop(
    at: &Path,
    room: &Path,
    kind: &'static str,
    options: &[&str],
) -> Result<Mounted, String> {
    let image = room.join("image");
    let file = File::create(&image).map_err(|e| e.to_string())?;
    // XFS is not made smaller than 300 MiB. Nearly all of it is a hole.
    file.set_len(512 << 20).map_err(|e| e.to_string())?;
    run(&format!("mkfs.{kind}"), options, &[&image])?;
    mount_loop(&image, kind, at)?;
    Ok(Mounted {
        points: vec![at.to_owned()],
        image: Some((image, kind)),
    })
}

fn mount_loop(image: &Path, kind: &str, at: &Path) -> Result<(), String> {
    run("mount", &["-o", "loop", "-t", kind], &[image, at])
}

/// The jobs' own.
fn fill(dir: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).expect("there is room");
        chown(dir.join(name), Some(NOBODY), Some(NOBODY)).expect("root may chown");
    }
}

fn overlay(
    at: &Path,
    room: &Path,
    files: &[(&str, &[u8])],
    apart: bool,
) -> Result<Mounted, String> {
    let top = room.join("top");
    // Never on the machine's own disk, which may be an overlay itself and cannot be the upper layer of another then.
    sandbox::small_disk(&top, 512 << 20);
    let mut points = vec![at.to_owned(), top.clone()];
    let lower = if apart {
        let lower = room.join("lower");
        sandbox::small_disk(&lower, 64 << 20);
        points.push(lower.clone());
        lower
    } else {
        let lower = top.join("lower");
        fs::create_dir(&lower).map_err(|e| e.to_string())?;
        lower
    };
    fill(&lower, files);
    for dir in ["upper", "work"] {
        fs::create_dir(top.join(dir)).map_err(|e| e.to_string())?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={},xino=off",
        lower.display(),
        top.join("upper").display(),
        top.join("work").display()
    );
    let done = run(
        "mount",
        &["-t", "overlay", "-o", &options, "atlas-test"],
        &[at],
    );
    if done.is_err() {
        points.remove(0);
    }
    let made = Mounted {
        points,
        image: None,
    };
    done.map(|()| made)
}

fn fuse(at: &Path, room: &Path) -> Result<Mounted, String> {
    let below = room.join("below");
    fs::create_dir_all(&below).map_err(|e| e.to_string())?;
    // It goes to the background when it is mounted, and ends when it is unmounted.
    run("bindfs", &["-o", "suid,dev"], &[&below, at])?;
    wait::until("bindfs is mounted", || {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").ok()?;
        mounts.contains(at.to_str()?).then_some(())
    });
    Ok(Mounted::at(at))
}
