//! Reading, writing, mapping, sizes and holes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::FallocateFlags;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

use super::harness::{MODES, Mount, Setup, eventually, say};

fn open(path: &Path, write: bool, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(flags)
        .open(path)
}

#[test]
fn bytes_behave_as_on_the_store() {
    for mode in MODES {
        Mount::new(mode).compare(|d| {
            let path = d.join("f");
            let mut said = vec![say("missing", open(&path, true, 0).map(drop))];
            let made = OpenOptions::new().write(true).create_new(true).open(&path);
            said.push(say("create", made.map(drop)));
            let again = OpenOptions::new().write(true).create_new(true).open(&path);
            said.push(say("excl", again.map(drop)));
            let mut f = open(&path, true, 0).expect("opens");
            said.push(say("write", f.write(b"hello world")));
            said.push(say("pwrite far", f.write_at(b"end", 1 << 20)));
            said.push(say("len", f.metadata().map(|m| m.len())));
            let mut head = [0u8; 11];
            said.push(say(
                "pread",
                f.read_at(&mut head, 0).map(|n| head[..n].to_vec()),
            ));
            said.push(say("shrink", f.set_len(5)));
            said.push(say("read all", fs::read(&path)));
            said.push(say("grow by path", rustix_truncate(&path, 9)));
            said.push(say("zeros", fs::read(&path)));
            let mut a = OpenOptions::new().append(true).open(&path).expect("opens");
            f.seek(SeekFrom::Start(0)).expect("seeks");
            said.push(say("append", a.write(b"A")));
            said.push(say("front", f.write(b"H")));
            said.push(say("append 2", a.write(b"B")));
            said.push(say("both", fs::read(&path)));
            let truncated = OpenOptions::new().write(true).truncate(true).open(&path);
            said.push(say("trunc", truncated.map(drop)));
            said.push(say("empty", fs::read(&path)));
            said.push(say("read of write-only", {
                let mut w = OpenOptions::new().write(true).open(&path).expect("opens");
                w.read(&mut [0u8; 1])
            }));
            said.push(say("directory for writing", open(d, true, 0).map(drop)));
            said.push(say(
                "O_DIRECTORY",
                open(&path, false, libc::O_DIRECTORY).map(drop),
            ));
            said.push(say("fsync", f.sync_all()));
            said.push(say("fdatasync", f.sync_data()));
            said.push(say("negative", f.seek(SeekFrom::Current(-100_000))));
            said
        });
    }
}

fn rustix_truncate(path: &Path, length: i64) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is terminated.
    match unsafe { libc::truncate(path.as_ptr(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn holes_and_allocation_behave_as_on_the_store() {
    for mode in MODES {
        Mount::new(mode).compare(|d| {
            let path = d.join("f");
            let f = File::create_new(&path).expect("made");
            let f2 = open(&path, true, 0).expect("opens");
            f.write_at(&[1; 4096], 1 << 20).expect("written");
            let mut said = Vec::new();
            let seek = |to| rustix::fs::seek(&f2, to).map_err(io::Error::from);
            for at in [0, 1 << 20, (1 << 20) + 4096, 1 << 30] {
                said.push(say("data", seek(rustix::fs::SeekFrom::Data(at))));
                said.push(say("hole", seek(rustix::fs::SeekFrom::Hole(at))));
            }
            let keep = FallocateFlags::KEEP_SIZE;
            for (flags, offset, length) in [
                (FallocateFlags::empty(), 0, 8192),
                (keep, 4 << 20, 4096),
                (FallocateFlags::PUNCH_HOLE | keep, 1 << 20, 1024),
                (FallocateFlags::ZERO_RANGE, (1 << 20) + 2048, 4096),
            ] {
                let done = rustix::fs::fallocate(&f, flags, offset, length);
                said.push(say("fallocate", done.map_err(io::Error::from)));
                let meta = fs::metadata(&path).expect("there");
                said.push(format!("{} bytes in {} blocks", meta.len(), meta.blocks()));
            }
            said.push(say(
                "all",
                fs::read(&path).map(|b| b.iter().filter(|x| **x == 1).count()),
            ));
            let read_only = open(&path, false, 0).expect("opens");
            let refused = rustix::fs::fallocate(&read_only, FallocateFlags::empty(), 0, 1);
            said.push(say("read-only", refused.map_err(io::Error::from)));
            said
        });
    }
}

#[test]
fn copies_inside_the_kernel_arrive_and_are_told() {
    for mode in MODES {
        let mount = Mount::new(mode);
        mount.compare(|d| {
            fs::write(d.join("a"), vec![9u8; 300_000]).expect("written");
            let (a, b) = (
                File::open(d.join("a")).expect("opens"),
                File::create(d.join("b")).expect("made"),
            );
            let (mut from, mut to) = (1000, 5);
            let n = rustix::fs::copy_file_range(&a, Some(&mut from), &b, Some(&mut to), 200_000);
            let all = fs::read(d.join("b")).map(|b| (b.len(), b[4], b[5]));
            vec![say("copied", n.map_err(io::Error::from)), say("all", all)]
        });
        assert_eq!(mount.events("copied").len(), 1, "{mode}");
    }
}

#[test]
fn direct_io_works_in_both_modes() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.path.join("f");
        let layout = std::alloc::Layout::from_size_align(8192, 4096).expect("a layout");
        // SAFETY: the layout is not empty; the memory is freed below with the same layout.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!memory.is_null());
        // SAFETY: it was allocated with this length and is not used otherwise while the slice lives.
        let buffer = unsafe { std::slice::from_raw_parts_mut(memory, 8192) };
        buffer.fill(7);
        let f = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .expect("opens with O_DIRECT");
        assert_eq!(f.write_at(buffer, 4096).expect("written"), 8192);
        buffer.fill(0);
        assert_eq!(f.read_at(buffer, 4096).expect("read"), 8192);
        assert!(buffer.iter().all(|b| *b == 7), "{mode}");
        drop(f);
        assert_eq!(fs::read(&path).expect("read")[4096..], [7; 8192]);
        // SAFETY: allocated above with this layout; the slice is not used any more.
        unsafe { std::alloc::dealloc(memory, layout) };
    }
}

#[test]
fn maps_are_shared_with_the_file_even_after_close() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.path.join("f");
        fs::write(&path, vec![b'.'; 8192]).expect("written");
        let f = open(&path, true, 0).expect("opens");
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of 8192 bytes, used below within its bounds and unmapped at the end.
        let shared =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), 8192, both, MapFlags::SHARED, &f, 0) }
                .expect("shared");
        // SAFETY: as above.
        let private =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), 8192, both, MapFlags::PRIVATE, &f, 0) }
                .expect("private");
        drop(f);
        mount.await_events("flushed", 2);
        // SAFETY: both maps are 8192 bytes long and writable.
        unsafe {
            shared.cast::<u8>().add(5000).write(b'S');
            private.cast::<u8>().write(b'P');
            rustix::mm::msync(shared, 8192, MsyncFlags::SYNC).expect("synced");
        }
        let now = fs::read(&path).expect("read");
        assert_eq!((now[0], now[5000]), (b'.', b'S'), "{mode}");
        assert_eq!(
            fs::read(mount.source.join("f")).expect("read"),
            now,
            "{mode}"
        );
        // SAFETY: mapped above, not used any more.
        unsafe {
            rustix::mm::munmap(shared, 8192).expect("unmapped");
            rustix::mm::munmap(private, 8192).expect("unmapped");
        }
    }
}

#[test]
fn a_store_through_a_map_shows_in_the_times_at_once() {
    // No request tells the daemon of the store: attributes must not be believed while somebody can make one.
    let mount = Mount::new("passthrough");
    let path = mount.path.join("f");
    fs::write(&path, vec![0; 4096]).expect("written");
    let f = open(&path, true, 0).expect("opens");
    // SAFETY: a new mapping of 4096 bytes, used below within its bounds and unmapped at the end.
    let map = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &f,
            0,
        )
    }
    .expect("mapped");
    let seen = |p: &Path| {
        fs::metadata(p)
            .map(|m| (m.mtime(), m.mtime_nsec()))
            .expect("there")
    };
    let before = seen(&path);
    // SAFETY: the map is 4096 bytes long and writable.
    unsafe { map.cast::<u8>().write(1) };
    let after = seen(&path);
    assert_eq!(after, seen(&mount.source.join("f")));
    assert_ne!(
        after, before,
        "the store changed nothing: this proves nothing"
    );
    // SAFETY: mapped above, not used any more.
    unsafe { rustix::mm::munmap(map, 4096) }.expect("unmapped");
}

#[test]
fn a_lease_tells_whether_any_job_can_still_write() {
    // In passthrough the daemon registers the inode without being able to write it; if it could, no lease would ever be had.
    let mount = Mount::new("passthrough");
    let path = mount.path.join("f");
    let mut job = File::create(&path).expect("made");
    job.write_all(b"bytes")
        .expect("written through an O_PATH registration");
    let backing = File::open(mount.source.join("f")).expect("opens");
    let lease = |kind: i32| {
        // SAFETY: fcntl with an integer argument on an open descriptor.
        match unsafe { libc::fcntl(backing.as_raw_fd(), libc::F_SETLEASE, kind) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let refused = lease(libc::F_RDLCK).expect_err("the job has it open for writing");
    assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
    // SAFETY: a new mapping, unmapped below.
    let map = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            4096,
            ProtFlags::WRITE,
            MapFlags::SHARED,
            open(&path, true, 0).expect("opens"),
            0,
        )
    }
    .expect("mapped");
    drop(job);
    mount.await_events("released", 1);
    let refused = lease(libc::F_RDLCK).expect_err("a writable map lives");
    assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
    // SAFETY: mapped above.
    unsafe { rustix::mm::munmap(map, 4096) }.expect("unmapped");
    mount.await_events("released", 2);
    eventually("nothing else holds it open for writing", || {
        lease(libc::F_RDLCK).is_ok()
    });
    assert_eq!(
        fs::read(&path).expect("readers are never kept out"),
        b"bytes"
    );
    lease(libc::F_UNLCK).expect("given back");
}

#[test]
fn files_beyond_four_gib_and_files_without_a_name() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.path.join("big");
        let f = File::create_new(&path).expect("made");
        let far = (5 << 30) + 3;
        f.write_at(b"far", far).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").size(), far + 3);
        let r = open(&path, true, 0).expect("opens");
        fs::remove_file(&path).expect("removed");
        let mut back = [0u8; 3];
        assert_eq!(r.read_at(&mut back, far).expect("read"), 3);
        assert_eq!(&back, b"far");
        r.write_at(b"F", far).expect("an unlinked file is written");
        r.set_len(10).expect("and resized");
        assert_eq!(r.metadata().expect("and asked").nlink(), 0, "{mode}");
        assert!(!path.exists());
    }
}

#[test]
fn what_fuse_cannot_do_is_refused_properly() {
    let mount = Mount::new("passthrough");
    let f = File::create(mount.path.join("f")).expect("made");
    let unnamed = open(&mount.path, true, libc::O_TMPFILE).expect_err("no O_TMPFILE");
    assert_eq!(unnamed.raw_os_error(), Some(libc::EOPNOTSUPP));
    // SAFETY: an ioctl that takes no argument.
    let done = unsafe { libc::ioctl(f.as_raw_fd(), 0x1234) };
    let e = io::Error::last_os_error();
    assert_eq!((done, e.raw_os_error()), (-1, Some(libc::ENOTTY)));
}

#[test]
fn programs_run_and_are_busy_while_written() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.path.join("true");
        fs::copy("/bin/true", &path).expect("copied");
        let busy = open(&path, true, 0).expect("opens");
        let refused = Command::new(&path).status().expect_err("text file busy");
        assert_eq!(refused.raw_os_error(), Some(libc::ETXTBSY), "{mode}");
        drop(busy);
        eventually("it runs once nobody writes", || {
            Command::new(&path).status().is_ok_and(|s| s.success())
        });
        let opened = mount.events("opened true");
        assert!(opened.iter().any(|e| e.contains(" rx ")), "{opened:?}");
    }
}

#[test]
fn no_space_is_told_to_the_writer() {
    for mode in MODES {
        let mount = Mount::with(&Setup {
            mode,
            tmpfs: Some(256),
            ..Setup::default()
        });
        mount.compare(|d| {
            let mut f = File::create(d.join("f")).expect("made");
            let failed = (0..100).find_map(|_| f.write_all(&[1; 8192]).err());
            let free = rustix::fs::statvfs(d).map(|s| s.f_bavail);
            drop(f);
            fs::remove_file(d.join("f")).expect("removed");
            // close(2) does not wait for the daemon's RELEASE: the space is free soon, not at once.
            let late = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let again = loop {
                let done = fs::write(d.join("g"), [2; 8192]);
                if done.is_ok() || std::time::Instant::now() > late {
                    break done;
                }
            };
            vec![
                format!("{:?}", failed.and_then(|e| e.raw_os_error())),
                say("free", free.map_err(io::Error::from)),
                say("after removal", again),
            ]
        });
    }
}
