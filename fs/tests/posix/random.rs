//! Random sequences of operations on the mount and on a plain twin: every result and, at the end, every byte must agree.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FallocateFlags, RenameFlags};

use super::harness::{MODES, Mount, mode_bits, say};

#[derive(Debug, Clone)]
enum Op {
    Write(u8, u32, u16),
    Append(u8, u16),
    Read(u8),
    Truncate(u8, u32),
    Unlink(u8),
    Mkdir(u8),
    Rmdir(u8),
    Rename(u8, u8, u8),
    Link(u8, u8),
    Symlink(u8, u8),
    Chmod(u8, u16),
    Stat(u8),
    List(u8),
    Hold(u8),
    HeldWrite(u32, u16),
    HeldRead,
    HeldResize(u32),
    Allocate(u8, u32, u16),
    Copy(u8, u8),
    Xattr(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..12u8;
    prop_oneof![
        4 => (name(), 0..200_000u32, 1..20_000u16).prop_map(|(n, o, l)| Op::Write(n, o, l)),
        2 => (name(), 1..5000u16).prop_map(|(n, l)| Op::Append(n, l)),
        3 => name().prop_map(Op::Read),
        2 => (name(), 0..300_000u32).prop_map(|(n, l)| Op::Truncate(n, l)),
        2 => name().prop_map(Op::Unlink),
        1 => name().prop_map(Op::Mkdir),
        1 => name().prop_map(Op::Rmdir),
        4 => (name(), name(), 0..3u8).prop_map(|(a, b, f)| Op::Rename(a, b, f)),
        2 => (name(), name()).prop_map(|(a, b)| Op::Link(a, b)),
        1 => (name(), name()).prop_map(|(a, b)| Op::Symlink(a, b)),
        // No set-id bits: in passthrough a write takes them away from root's files too (see `vfs::credentials`).
        1 => (name(), 0..0o1777u16).prop_map(|(n, m)| Op::Chmod(n, m)),
        3 => name().prop_map(Op::Stat),
        1 => name().prop_map(Op::List),
        2 => name().prop_map(Op::Hold),
        3 => (0..100_000u32, 1..9000u16).prop_map(|(o, l)| Op::HeldWrite(o, l)),
        2 => Just(Op::HeldRead),
        1 => (0..100_000u32).prop_map(Op::HeldResize),
        1 => (name(), 0..100_000u32, 1..9000u16).prop_map(|(n, o, l)| Op::Allocate(n, o, l)),
        1 => (name(), name()).prop_map(|(a, b)| Op::Copy(a, b)),
        1 => (name(), 0..4u8).prop_map(|(n, x)| Op::Xattr(n, x)),
    ]
}

/// Twelve names: four at the top, four in each of two directories.
fn path(root: &Path, n: u8) -> std::path::PathBuf {
    match n {
        0..4 => root.join(format!("n{n}")),
        4..8 => root.join("n0").join(format!("n{n}")),
        _ => root.join("n1").join(format!("n{n}")),
    }
}

/// Bytes that tell where they were written and by which step.
fn bytes(step: usize, length: u16) -> Vec<u8> {
    (0..length).map(|i| (step as u8) ^ (i as u8)).collect()
}

fn read_all(f: &File) -> io::Result<(usize, u64)> {
    let mut all: Vec<u8> = Vec::new();
    let mut at = 0;
    let mut buffer = [0u8; 65_536];
    loop {
        match f.read_at(&mut buffer, at)? {
            0 => break,
            n => {
                all.extend(&buffer[..n]);
                at += n as u64;
            }
        }
    }
    let sum = all
        .iter()
        .fold(0u64, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(*b)));
    Ok((all.len(), sum))
}

fn apply(root: &Path, ops: &[Op]) -> Vec<String> {
    let at = |n: &u8| path(root, *n);
    let mut held: Option<File> = None;
    let mut said = Vec::new();
    for (step, op) in ops.iter().enumerate() {
        let line = match op {
            Op::Write(n, offset, length) => {
                let mut how = OpenOptions::new();
                how.write(true).create(true).truncate(false);
                let done = how
                    .open(at(n))
                    .and_then(|f| f.write_at(&bytes(step, *length), (*offset).into()));
                say("write", done)
            }
            Op::Append(n, length) => {
                let done = OpenOptions::new()
                    .append(true)
                    .open(at(n))
                    .and_then(|f| io::Write::write(&mut &f, &bytes(step, *length)));
                say("append", done)
            }
            Op::Read(n) => say("read", File::open(at(n)).and_then(|f| read_all(&f))),
            Op::Truncate(n, length) => {
                let done = OpenOptions::new().write(true).open(at(n));
                say("truncate", done.and_then(|f| f.set_len((*length).into())))
            }
            Op::Unlink(n) => say("unlink", fs::remove_file(at(n))),
            Op::Mkdir(n) => say("mkdir", fs::create_dir(at(n))),
            Op::Rmdir(n) => say("rmdir", fs::remove_dir(at(n))),
            Op::Rename(a, b, flags) => {
                let flags = match flags {
                    0 => RenameFlags::empty(),
                    1 => RenameFlags::NOREPLACE,
                    _ => RenameFlags::EXCHANGE,
                };
                let done = rustix::fs::renameat_with(CWD, at(a), CWD, at(b), flags);
                say("rename", done.map_err(io::Error::from))
            }
            Op::Link(a, b) => say("link", fs::hard_link(at(a), at(b))),
            Op::Symlink(a, b) => say("symlink", symlink(format!("n{a}"), at(b))),
            Op::Chmod(n, mode) => say(
                "chmod",
                fs::set_permissions(at(n), mode_bits((*mode).into())),
            ),
            Op::Stat(n) => say("stat", fs::symlink_metadata(at(n)).map(|m| seen(&m))),
            Op::List(n) => say("list", list(&at(n))),
            Op::Hold(n) => {
                let opened = OpenOptions::new().read(true).write(true).open(at(n));
                let line = say(
                    "hold",
                    opened
                        .as_ref()
                        .map(drop)
                        .map_err(|e| io::Error::from_raw_os_error(e.raw_os_error().unwrap_or(0))),
                );
                held = opened.ok().or(held);
                line
            }
            Op::HeldWrite(offset, length) => {
                let done = held
                    .as_ref()
                    .map(|f| f.write_at(&bytes(step, *length), (*offset).into()));
                say("held write", done.transpose())
            }
            Op::HeldRead => say("held read", held.as_ref().map(read_all).transpose()),
            Op::HeldResize(length) => {
                let done = held.as_ref().map(|f| f.set_len((*length).into()));
                say("held resize", done.transpose())
            }
            Op::Allocate(n, offset, length) => {
                let done = OpenOptions::new().write(true).open(at(n)).and_then(|f| {
                    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    let (offset, length) = ((*offset).into(), (*length).into());
                    Ok(rustix::fs::fallocate(&f, flags, offset, length)?)
                });
                say("punch", done)
            }
            Op::Copy(a, b) => say("copy", fs::copy(at(a), at(b))),
            Op::Xattr(n, x) => {
                let flags = rustix::fs::XattrFlags::empty();
                let name = format!("user.x{x}");
                let done = rustix::fs::setxattr(at(n), name, &[*x], flags);
                say("xattr", done.map_err(io::Error::from))
            }
        };
        said.push(format!("{step} {op:?} {line}"));
    }
    drop(held);
    let mut tree = BTreeMap::new();
    walk(root, root, &mut tree);
    said.extend(tree.into_values());
    said
}

fn seen(m: &fs::Metadata) -> (u32, u64, u64) {
    let size = if m.is_dir() { 0 } else { m.size() };
    (m.mode(), m.nlink(), size)
}

fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn walk(root: &Path, dir: &Path, tree: &mut BTreeMap<String, String>) {
    for name in list(dir).expect("lists") {
        let path = dir.join(name);
        let meta = fs::symlink_metadata(&path).expect("there");
        let below = path
            .strip_prefix(root)
            .expect("below")
            .display()
            .to_string();
        let mut line = format!("{below} {:?}", seen(&meta));
        if meta.is_file() {
            let mut bytes = Vec::new();
            let read = File::open(&path).and_then(|mut f| f.read_to_end(&mut bytes));
            read.expect("read");
            line.push_str(&format!(" {bytes:?}"));
        }
        if meta.is_dir() {
            walk(root, &path, tree);
        }
        tree.insert(below, line);
    }
}

#[test]
fn random_operations_have_the_same_results_as_on_the_store() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let mut runner = TestRunner::new(Config {
            cases: 150,
            failure_persistence: None,
            ..Config::default()
        });
        let case = AtomicU32::new(0);
        let done = runner.run(&prop::collection::vec(op(), 1..80), |ops| {
            let name = format!("case-{}", case.fetch_add(1, Ordering::Relaxed));
            for side in [&mount.path, &mount.twin] {
                fs::create_dir(side.join(&name)).expect("made");
            }
            let wanted = apply(&mount.twin.join(&name), &ops);
            let got = apply(&mount.path.join(&name), &ops);
            for (got, wanted) in got.iter().zip(&wanted) {
                prop_assert_eq!(got, wanted, "{}: left the mount, right the twin", mode);
            }
            prop_assert_eq!(got.len(), wanted.len());
            for side in [&mount.path, &mount.twin] {
                fs::remove_dir_all(side.join(&name)).expect("removed");
            }
            Ok(())
        });
        if let Err(e) = done {
            panic!("{mode}: {e}");
        }
    }
}
