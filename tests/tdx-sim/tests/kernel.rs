//! The simulated interfaces through a real mount, as a client of the kernel sees them. Needs root and /dev/fuse.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use atlas_tdx_sim::machine::Settings;
use atlas_tdx_sim::td::extended;
use atlas_tdx_sim::{CollateralSpec, Machine, Mounted, Simulator, Td, World};
use tempfile::TempDir;

const NOW: i64 = 1_800_000_000;

/// A mounted guest; the mount goes before the directory, also when a test panics.
struct Guest {
    mounted: Mounted,
    _dir: TempDir,
}

impl Guest {
    fn new() -> Self {
        Self::with(true)
    }

    fn with(rtmr: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(NOW).unwrap();
        let collateral = CollateralSpec::at(NOW);
        let machine = Machine::new(world, Td::default(), Settings::default(), collateral);
        let simulator = Arc::new(Simulator::new(machine));
        let mounted = Mounted::start(simulator, dir.path(), rtmr)
            .expect("a mount, which takes root and /dev/fuse");
        Self { mounted, _dir: dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mounted.path().join(path)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(path))
    }

    fn write(&self, path: &str, data: &[u8]) -> io::Result<()> {
        fs::write(self.path(path), data)
    }

    fn tell(&self, command: &str) {
        self.write("control", command.as_bytes()).unwrap();
    }

    fn item(&self, name: &str) {
        fs::create_dir(self.path(&format!("report/{name}"))).unwrap();
    }

    fn generation(&self, name: &str) -> String {
        let path = self.path(&format!("report/{name}/generation"));
        fs::read_to_string(path).unwrap()
    }
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: io::Result<T>, errno: i32) {
    let error = result.expect_err("it has to fail");
    assert_eq!(error.raw_os_error(), Some(errno), "{error}");
}

fn report_data(quote: &[u8]) -> &[u8] {
    &quote[48 + 520..48 + 584]
}

#[test]
fn a_client_that_does_all_right_gets_its_quote() {
    let guest = Guest::new();
    guest.item("a");
    assert_eq!(guest.read("report/a/provider").unwrap(), b"tdx_guest\n");
    assert_eq!(guest.generation("a"), "0\n");
    guest.write("report/a/inblob", &[7; 64]).unwrap();
    let quote = guest.read("report/a/outblob").unwrap();
    assert_eq!(report_data(&quote), [7; 64]);
    assert_eq!(guest.generation("a"), "1\n");
    fs::remove_dir(guest.path("report/a")).unwrap();
    fails(guest.read("report/a/generation"), libc::ENOENT);
    assert_eq!(fs::read_dir(guest.path("report")).unwrap().count(), 0);
}

#[test]
fn no_request_of_many_is_answered_with_the_quote_of_another() {
    let guest = Guest::new();
    thread::scope(|scope| {
        for client in 0..4u8 {
            let guest = &guest;
            scope.spawn(move || {
                for turn in 0..500u16 {
                    let name = format!("c{client}-{turn}");
                    guest.item(&name);
                    let data = [client ^ (turn as u8).rotate_left(3); 64];
                    guest
                        .write(&format!("report/{name}/inblob"), &data)
                        .unwrap();
                    let quote = guest.read(&format!("report/{name}/outblob")).unwrap();
                    assert_eq!(report_data(&quote), data);
                    assert_eq!(guest.generation(&name), "1\n");
                    fs::remove_dir(guest.path(&format!("report/{name}"))).unwrap();
                }
            });
        }
    });
}

#[test]
fn an_input_of_a_wrong_length_is_found_when_linux_finds_it() {
    let guest = Guest::new();
    guest.item("a");
    fails(guest.read("report/a/outblob"), libc::EINVAL);
    guest.write("report/a/inblob", &[1; 32]).unwrap();
    fails(guest.read("report/a/outblob"), libc::EINVAL);
    fails(guest.write("report/a/inblob", &[1; 65]), libc::EFBIG);
    // The refused write was committed as an empty one, as configfs does.
    assert_eq!(guest.generation("a"), "2\n");
    fails(guest.read("report/a/outblob"), libc::EINVAL);
}

#[test]
fn an_input_counts_when_it_is_closed_and_not_before() {
    let guest = Guest::new();
    guest.item("a");
    let mut file = File::options()
        .write(true)
        .open(guest.path("report/a/inblob"))
        .unwrap();
    file.write_all(&[1; 40]).unwrap();
    file.write_all(&[2; 24]).unwrap();
    assert_eq!(guest.generation("a"), "0\n");
    drop(file);
    assert_eq!(guest.generation("a"), "1\n");
    let quote = guest.read("report/a/outblob").unwrap();
    assert_eq!(report_data(&quote), [[1; 40].as_slice(), &[2; 24]].concat());
}

#[test]
fn a_quote_is_made_on_the_first_read_and_kept_until_the_next_write() {
    let guest = Guest::new();
    guest.item("a");
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    // Between the write and the read: the quote has it.
    let event = [9; 48];
    guest.write("measurements/rtmr3:sha384", &event).unwrap();
    let first = guest.read("report/a/outblob").unwrap();
    let rtmr3 = extended(&[0; 48], &event);
    assert_eq!(first[48 + 472..48 + 520], rtmr3);
    // After it: the quote is what it was.
    guest.write("measurements/rtmr3:sha384", &event).unwrap();
    assert_eq!(guest.read("report/a/outblob").unwrap(), first);
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    let second = guest.read("report/a/outblob").unwrap();
    assert_eq!(second[48 + 472..48 + 520], extended(&rtmr3, &event));
    assert_eq!(guest.generation("a"), "2\n");
}

#[test]
fn an_open_output_is_read_to_its_end_in_one_piece() {
    let guest = Guest::new();
    guest.item("a");
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    let mut file = File::open(guest.path("report/a/outblob")).unwrap();
    let mut head = [0; 100];
    file.read_exact(&mut head).unwrap();
    guest.write("report/a/inblob", &[2; 64]).unwrap();
    fs::remove_dir(guest.path("report/a")).unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(report_data(&[head.as_slice(), &rest].concat()), [1; 64]);
    fails(file.seek(SeekFrom::Start(0)), libc::ESPIPE);
}

#[test]
fn files_are_opened_for_what_their_mode_says_even_by_root() {
    let guest = Guest::new();
    guest.item("a");
    for (path, mode) in [
        ("report", 0o755),
        ("report/a/provider", 0o444),
        ("report/a/generation", 0o444),
        ("report/a/inblob", 0o200),
        ("report/a/outblob", 0o444),
        ("measurements/mrtd:sha384", 0o444),
        ("measurements/rtmr0:sha384", 0o644),
        ("measurements/rtmr3:sha384", 0o644),
        ("measurements/mrconfigid", 0o444),
        ("ccel/CCEL", 0o400),
    ] {
        let meta = fs::metadata(guest.path(path)).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid()), (mode, 0), "{path}");
    }
    let mut both = OpenOptions::new();
    both.read(true).write(true);
    fails(both.open(guest.path("report/a/inblob")), libc::EACCES);
    fails(both.open(guest.path("report/a/outblob")), libc::EACCES);
    fails(guest.read("report/a/inblob"), libc::EACCES);
    fails(guest.write("report/a/outblob", b"x"), libc::EACCES);
    fails(
        guest.write("measurements/mrtd:sha384", &[0; 48]),
        libc::EACCES,
    );
    fails(guest.write("report/a/new", b"x"), libc::EACCES);
    fails(fs::remove_file(guest.path("report/a/inblob")), libc::EPERM);
    fails(fs::create_dir(guest.path("measurements/a")), libc::EPERM);
    fails(fs::create_dir(guest.path("report/a")), libc::EEXIST);
    fails(fs::remove_dir(guest.path("report/b")), libc::ENOENT);
}

#[test]
fn a_register_takes_exactly_48_bytes_at_its_beginning() {
    let guest = Guest::new();
    let path = "measurements/rtmr3:sha384";
    fails(guest.write(path, &[1; 47]), libc::EINVAL);
    let file = OpenOptions::new()
        .write(true)
        .open(guest.path(path))
        .unwrap();
    fails(file.write_at(&[1; 48], 1), libc::EINVAL);
    fails(file.write_at(&[1; 24], 24), libc::EINVAL);
    fails(file.write_at(&[1; 48], 48), libc::EFBIG);
    assert_eq!(guest.read(path).unwrap(), [0; 48]);
    // All four can be written, as Linux has it.
    for (i, booted) in Td::default().rtmr.into_iter().enumerate() {
        let path = format!("measurements/rtmr{i}:sha384");
        guest.write(&path, &[1; 48]).unwrap();
        assert_eq!(guest.read(&path).unwrap(), extended(&booted, &[1; 48]));
    }
}

#[test]
fn faults_that_were_ordered_reach_the_reader_and_end() {
    let guest = Guest::new();
    guest.item("a");
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    guest.tell("fail EBUSY 2\nfail ETIMEDOUT\nfail EINTR\nfail EIO");
    for errno in [
        libc::EBUSY,
        libc::EBUSY,
        libc::ETIMEDOUT,
        libc::EINTR,
        libc::EIO,
    ] {
        let mut file = File::open(guest.path("report/a/outblob")).unwrap();
        fails(file.read(&mut [0; 10]), errno);
    }
    assert!(guest.read("report/a/outblob").is_ok());
    fails(guest.write("control", b"no such thing"), libc::EINVAL);

    guest.tell("swap");
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    assert_ne!(
        report_data(&guest.read("report/a/outblob").unwrap()),
        [1; 64]
    );
    assert_eq!(guest.generation("a"), "2\n");

    guest.tell("race");
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    assert_eq!(guest.generation("a"), "4\n");
}

#[test]
fn whoever_waits_for_a_quote_keeps_nobody_from_anything_else() {
    let guest = Guest::new();
    guest.tell("hang 1500");
    // More of them than the mount has threads.
    let names: Vec<String> = (0..8).map(|i| format!("slow{i}")).collect();
    for name in &names {
        guest.item(name);
        let path = format!("report/{name}/inblob");
        guest.write(&path, &[1; 64]).unwrap();
    }
    let begun = Instant::now();
    thread::scope(|scope| {
        let slow: Vec<_> = names
            .iter()
            .map(|name| {
                let path = guest.path(&format!("report/{name}/outblob"));
                scope.spawn(move || fs::read(path).unwrap())
            })
            .collect();
        // It has begun when its fault is no longer in the queue.
        let status = || String::from_utf8(guest.read("status").unwrap()).unwrap();
        while status().contains("\"faults\": 1") {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(50));
        guest.item("other");
        guest.write("report/other/inblob", &[2; 64]).unwrap();
        assert_eq!(guest.generation("other"), "1\n");
        guest.write("measurements/rtmr3:sha384", &[1; 48]).unwrap();
        let over = slow.iter().any(thread::ScopedJoinHandle::is_finished);
        assert!(
            !over,
            "the others waited for the quote, or it did not take its time"
        );
    });
    assert!(begun.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn a_reboot_takes_everything_that_was_not_in_firmware() {
    let guest = Guest::new();
    guest.item("a");
    guest.write("report/a/inblob", &[1; 64]).unwrap();
    let mut file = File::open(guest.path("report/a/outblob")).unwrap();
    guest.write("measurements/rtmr3:sha384", &[1; 48]).unwrap();
    guest.tell("reboot");
    assert_eq!(guest.read("measurements/rtmr3:sha384").unwrap(), [0; 48]);
    let rtmr0 = guest.read("measurements/rtmr0:sha384").unwrap();
    assert_eq!(rtmr0, Td::default().rtmr[0]);
    fails(guest.read("report/a/outblob"), libc::ENOENT);
    fails(file.read(&mut [0; 10]), libc::ENOENT);
}

#[test]
fn before_linux_6_16_there_are_no_measurements() {
    let guest = Guest::with(false);
    fails(guest.read("measurements/rtmr3:sha384"), libc::ENOENT);
    assert!(!guest.path("measurements").exists());
}

/// A reader of its own: what it understands of the log must not come from what wrote it.
#[test]
fn the_event_log_explains_the_registers_at_boot() {
    let guest = Guest::new();
    let log = guest.read("ccel/CCEL").unwrap();
    let table = guest.read("ccel/table").unwrap();
    assert_eq!((&table[..4], table.len()), (b"CCEL".as_slice(), 56));

    let word = |at: usize| u32::from_le_bytes(log[at..at + 4].try_into().unwrap());
    assert_eq!(&log[32..48], b"Spec ID Event03\0");
    let mut at = 32 + word(28) as usize;
    let mut rtmr = [[0; 48]; 4];
    let (mut measured, mut silent) = (0, 0);
    while word(at) != u32::MAX {
        let (register, kind) = (word(at) as usize, word(at + 4));
        assert_eq!(word(at + 8), 1, "one digest");
        assert_eq!(log[at + 12..at + 14], [0x0c, 0], "of SHA-384");
        let digest = log[at + 14..at + 62].try_into().unwrap();
        if kind == 3 {
            silent += 1;
        } else {
            rtmr[register - 1] = extended(&rtmr[register - 1], &digest);
            measured += 1;
        }
        at += 66 + word(at + 62) as usize;
    }
    assert!(log[at..].iter().all(|byte| *byte == 0xff));
    assert!(measured > 10 && silent > 0);
    for (i, value) in rtmr.iter().enumerate() {
        let shown = guest.read(&format!("measurements/rtmr{i}:sha384")).unwrap();
        assert_eq!(shown, value, "RTMR{i}");
    }
}

#[test]
fn nothing_stays_mounted_after_a_guest_is_dropped() {
    let guest = Guest::new();
    guest.item("a");
    let path = guest.mounted.path().to_path_buf();
    let kept = File::open(guest.path("report/a/generation")).unwrap();
    drop(guest);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()));
    drop(kept);
}
