//! Small things that tests do to files: digests, flipped bits, searches.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Deterministic bytes that no two seeds share.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// Flips the lowest bit of one byte of a file, in place.
pub fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("the file to tamper with");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .expect("the byte to flip");
    file.write_all_at(&[byte[0] ^ 1], offset)
        .expect("the flipped byte");
}

/// SHA-256 of a file, by coreutils: not by code that is under test.
pub fn sha256sum(path: &Path) -> String {
    let out = std::process::Command::new("sha256sum")
        .arg("--zero")
        .arg(path)
        .output()
        .expect("coreutils are there");
    assert!(out.status.success(), "sha256sum {path:?}");
    let hex: String = out.stdout.iter().take(64).map(|&b| char::from(b)).collect();
    format!("sha256:{hex}")
}

/// All regular files below a directory whose name ends so.
pub fn find(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = vec![dir.to_path_buf()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("a directory entry has a type");
            if kind.is_dir() {
                queue.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(suffix) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Copies a directory with everything in it.
pub fn copy_tree(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp is there");
    assert!(status.success(), "cp -a {from:?} {to:?}");
}
