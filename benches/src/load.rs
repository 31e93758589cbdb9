//! The workloads: what a training job does to large and small files. Each returns how long it took.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use atlas_tests::files;

/// Bytes of one request of the sequential workloads.
const CHUNK: usize = 1 << 20;
/// Bytes of a page, a small file, and a random read.
const PAGE: usize = 4096;

/// Makes the large file that the reading workloads read.
///
/// # Errors
/// Those of writing.
pub fn prepare(path: &Path, bytes: usize) -> Result<()> {
    let block = files::noise(bytes as u64, CHUNK);
    let mut file = File::create(path).with_context(|| format!("{path:?}"))?;
    for _ in 0..bytes / CHUNK {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(())
}

/// Lets the kernel forget every cached page, so that the next read comes from the disk.
///
/// # Errors
/// Without root.
pub fn forget() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches needs root")
}

/// Reads a file from its beginning to its end.
///
/// # Errors
/// Those of reading.
pub fn sequential_read(path: &Path) -> Result<Duration> {
    let mut buffer = vec![0; CHUNK];
    let began = Instant::now();
    let mut file = File::open(path)?;
    while file.read(&mut buffer)? > 0 {}
    Ok(began.elapsed())
}

/// Maps a file and adds up all its words.
///
/// # Errors
/// Those of opening and mapping.
pub fn mapped_read(path: &Path) -> Result<Duration> {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    let began = Instant::now();
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len())?;
    // SAFETY: a fresh mapping at an address that the kernel chooses; nothing else knows of it.
    let map = unsafe {
        mmap(
            std::ptr::null_mut(),
            len,
            ProtFlags::READ,
            MapFlags::SHARED,
            &file,
            0,
        )?
    };
    drop(file);
    // SAFETY: the mapping is `len` bytes long and lives until `munmap` below; this benchmark's files are not written meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(map.cast::<u8>(), len) };
    let sum = bytes.chunks_exact(8).fold(0_u64, |sum, word| {
        sum.wrapping_add(u64::from_ne_bytes(word.try_into().unwrap_or_default()))
    });
    std::hint::black_box(sum);
    // SAFETY: mapped above with this length; `bytes` is not used any more.
    unsafe { munmap(map, len)? };
    Ok(began.elapsed())
}

/// Writes a new file from its beginning to its end and closes it.
///
/// # Errors
/// Those of writing.
pub fn sequential_write(path: &Path, bytes: usize) -> Result<Duration> {
    let block = files::noise(1, CHUNK);
    let began = Instant::now();
    let mut file = File::create(path)?;
    for _ in 0..bytes / CHUNK {
        file.write_all(&block)?;
    }
    drop(file);
    Ok(began.elapsed())
}

/// Reads pages at places that jump about.
///
/// # Errors
/// Those of reading.
pub fn random_read(path: &Path, reads: usize) -> Result<Duration> {
    let file = File::open(path)?;
    let pages = file.metadata()?.len() / PAGE as u64;
    let mut buffer = [0; PAGE];
    let mut place = 1_u64;
    let began = Instant::now();
    for _ in 0..reads {
        place = place
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        file.read_exact_at(&mut buffer, (place >> 20) % pages * PAGE as u64)?;
    }
    Ok(began.elapsed())
}

/// Opens and closes a file that is at rest, to read it or, writing nothing, to write it.
///
/// # Errors
/// Those of opening.
pub fn open_close(path: &Path, number: usize, write: bool) -> Result<Duration> {
    let mut how = File::options();
    let how = if write {
        how.write(true)
    } else {
        how.read(true)
    };
    let began = Instant::now();
    for _ in 0..number {
        drop(how.open(path)?);
    }
    Ok(began.elapsed())
}

/// Creates, writes and closes small files in a new directory.
///
/// # Errors
/// Those of writing.
pub fn small_files(dir: &Path, number: usize) -> Result<Duration> {
    let page = files::noise(2, PAGE);
    fs::create_dir(dir)?;
    let began = Instant::now();
    for i in 0..number {
        let mut file = File::create(dir.join(i.to_string()))?;
        // Unlike contents, so that nothing can be shared between them.
        file.write_all(&(i as u64).to_le_bytes())?;
        file.write_all(&page[8..])?;
    }
    Ok(began.elapsed())
}
