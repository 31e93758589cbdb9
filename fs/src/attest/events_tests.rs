use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use atlas_manifests::evidence::EventBody;
use atlas_manifests::id::InstanceId;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::attest::steps::Death;
use crate::attest::testing::{FakeTd, OldKernel};

/// One machine.
struct Bench {
    dir: TempDir,
    td: Arc<FakeTd>,
    boot: Sha256,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let td = Arc::new(FakeTd::new(dir.path()));
        let boot = Sha256([5; 32]);
        Self { dir, td, boot }
    }

    fn log_dir(&self) -> PathBuf {
        self.dir.path().join("run/tdx")
    }

    /// A daemon that has not looked yet, and will die.
    fn daemon(&self, death: Option<Death>) -> EventFile {
        let state = State {
            log: None,
            steps: Steps { death },
        };
        EventFile {
            dir: self.log_dir(),
            machine: Arc::clone(&self.td) as _,
            boot: self.boot,
            state: Mutex::new(state),
        }
    }

    fn open(&self) -> EventFile {
        EventFile::open_in(&self.log_dir(), Arc::clone(&self.td) as _, self.boot)
            .unwrap()
            .unwrap()
    }

    /// The whole log, which explains the register.
    fn log(&self) -> EventLog {
        let log = self.open().since(0).unwrap();
        assert_eq!(log.head().rtmr3, self.td.now());
        assert!(!self.log_dir().join("wal").exists());
        log
    }
}

fn event(instance: u8, seq: u64) -> Event {
    Event {
        instance: InstanceId([instance; 16]),
        seq,
        body: EventBody::End { total: seq },
    }
}

/// The numbers of an instance's events, in the order of the log.
fn of(log: &EventLog, instance: u8) -> Vec<u64> {
    let events = log.entries.iter().filter_map(|e| match e {
        Entry::Event(bytes) => Some(Event::decode(bytes).unwrap()),
        _ => None,
    });
    events
        .filter(|e| e.instance == InstanceId([instance; 16]))
        .map(|e| e.seq)
        .collect()
}

/// Lets a daemon die at step `after` of an append; false when it has fewer steps.
fn die(bench: &Bench, death: Death) -> bool {
    bench.daemon(Some(death)).append(&event(1, 2)).is_err()
}

fn two_events(bench: &Bench) {
    let daemon = bench.open();
    daemon.append(&event(1, 0)).unwrap();
    daemon.append(&event(1, 1)).unwrap();
}

#[test]
fn a_daemon_that_dies_at_any_step_leaves_its_event_once_or_not_at_all() {
    let mut seen = [0, 0];
    for written in [0, 1, 3, 4, 5, 40, 1000] {
        for after in 0.. {
            let bench = Bench::new();
            two_events(&bench);
            let before = bench.td.now();
            if !die(&bench, Death { after, written }) {
                assert!(after >= 8, "an append has {after} steps");
                break;
            }
            let extended = bench.td.now() != before;
            let log = bench.log();
            let there: &[u64] = if extended { &[0, 1, 2] } else { &[0, 1] };
            assert_eq!(of(&log, 1), there, "step {after}, {written} bytes of it");
            assert_eq!(log.foreign(), 0);
            seen[usize::from(extended)] += 1;
            bench.open().append(&event(1, 3)).unwrap();
            assert_eq!(of(&bench.log(), 1).last(), Some(&3));
        }
    }
    assert!(seen.iter().all(|n| *n >= 20), "{seen:?}");
}

/// Every length of a torn last frame.
#[test]
fn a_torn_last_entry_is_cut_off_and_nothing_is_lost() {
    let frame = 4 + Entry::Event(event(1, 2).encode()).encode().len();
    for written in 0..frame {
        let bench = Bench::new();
        two_events(&bench);
        // The fifth step writes the frame.
        assert!(die(&bench, Death { after: 4, written }));
        let torn = fs::metadata(bench.log_dir().join("events")).unwrap().len();
        assert_eq!(torn, 128 + 2 * frame as u64 + written as u64);
        assert_eq!(of(&bench.log(), 1), [0, 1, 2]);
    }
}

/// No daemon leaves this: it would be finished from its write-ahead file. A hand, or a store that tears longer, could.
#[test]
fn what_follows_the_last_whole_entry_never_shows_behind_a_shorter_one() {
    let bench = Bench::new();
    two_events(&bench);
    let daemon = bench.open();
    let path = bench.log_dir().join("events");
    for living in [false, true] {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(500u32.to_le_bytes());
        bytes.extend([0; 400]);
        fs::write(&path, &bytes).unwrap();
        let file = if living { &daemon } else { &bench.open() };
        file.append(&event(1, 2)).unwrap();
        let log = bench.log();
        assert_eq!((log.foreign(), log.base), (0, Rtmr::ZERO));
    }
    assert_eq!(of(&bench.log(), 1), [0, 1, 2, 2]);
}

#[test]
fn who_finishes_a_dead_daemons_work_may_die_too() {
    for first in 0..8 {
        for second in 0.. {
            let bench = Bench::new();
            two_events(&bench);
            let before = bench.td.now();
            let written = 7;
            die(
                &bench,
                Death {
                    after: first,
                    written,
                },
            );
            let extended = bench.td.now() != before;
            let again = Death {
                after: second,
                written,
            };
            let survived = bench.daemon(Some(again)).head().is_ok();
            let log = bench.log();
            let there: &[u64] = if extended { &[0, 1, 2] } else { &[0, 1] };
            assert_eq!(of(&log, 1), there, "steps {first} and {second}");
            assert_eq!(log.foreign(), 0);
            if survived {
                break;
            }
        }
    }
}

#[test]
fn a_register_that_others_extended_is_explained_as_far_as_it_can_be() {
    // Before, between death and recovery, and both: at each step.
    for (early, late) in [(true, false), (false, true), (true, true)] {
        for after in 0.. {
            let bench = Bench::new();
            two_events(&bench);
            if early {
                bench.td.foreign();
            }
            let dead = die(&bench, Death { after, written: 9 });
            if late {
                bench.td.foreign();
            }
            let log = bench.log();
            assert!(of(&log, 1).starts_with(&[0, 1]));
            assert!(of(&log, 1).len() <= 3);
            // Two that nobody looked between are one.
            let most = usize::from(early) + usize::from(late);
            assert!((1..=most).contains(&log.foreign()), "step {after}");
            if !dead {
                assert_eq!(of(&log, 1), [0, 1, 2]);
                break;
            }
        }
    }
}

#[test]
fn the_register_is_believed_and_not_what_the_kernel_says_of_an_extension() {
    let bench = Bench::new();
    two_events(&bench);
    let daemon = bench.open();
    let fault = || bench.td.faults.lock().unwrap();
    fault().not_extended = true;
    assert!(matches!(
        daemon.append(&event(1, 2)),
        Err(EventError::Extend(_))
    ));
    fault().swallowed = true;
    let e = daemon.append(&event(1, 2)).unwrap_err();
    assert!(!e.to_string().contains('\n'), "{e}");
    assert_eq!(of(&bench.log(), 1), [0, 1]);
    fault().extended_and_failed = true;
    daemon.append(&event(1, 2)).unwrap();
    assert_eq!(bench.log().foreign(), 0);
    fault().overtaken = true;
    daemon.append(&event(1, 3)).unwrap();
    let log = bench.log();
    assert_eq!((of(&log, 1), log.foreign()), (vec![0, 1, 2, 3], 1));
}

#[test]
fn a_log_of_another_boot_or_of_a_reset_register_is_not_gone_on_with() {
    let mut bench = Bench::new();
    two_events(&bench);
    let daemon = bench.open();
    let value = bench.td.now();
    // kexec: another kernel, the same register.
    bench.boot = Sha256([6; 32]);
    let log = bench.log();
    assert_eq!((log.base, log.entries.len()), (value, 0));
    bench.open().append(&event(2, 0)).unwrap();
    for reset in [value, Rtmr::ZERO] {
        bench.td.set(reset);
        let log = bench.log();
        assert_eq!((log.base, log.entries.len()), (reset, 0));
        bench.open().append(&event(2, 0)).unwrap();
    }
    // With an extension under way, too.
    two_events(&bench);
    assert!(die(
        &bench,
        Death {
            after: 3,
            written: 0
        }
    ));
    bench.td.set(Rtmr::ZERO);
    assert!(bench.log().entries.is_empty());
    drop(daemon);
}

#[test]
fn a_damaged_or_removed_log_is_begun_anew_and_a_living_daemon_notices() {
    let bench = Bench::new();
    two_events(&bench);
    let daemon = bench.open();
    let events = bench.log_dir().join("events");
    for at in [0, 20, 50, 100, 131, 133] {
        daemon.append(&event(1, 0)).unwrap();
        let value = bench.td.now();
        let mut bytes = fs::read(&events).unwrap();
        bytes[at] ^= 0xff;
        fs::write(&events, &bytes).unwrap();
        let log = bench.log();
        assert_eq!((log.base, log.entries.len()), (value, 0), "byte {at}");
        assert_eq!(daemon.head().unwrap().count, 0);
    }
    daemon.append(&event(1, 0)).unwrap();
    fs::remove_dir_all(bench.log_dir()).unwrap();
    assert_eq!(daemon.append(&event(1, 1)).unwrap().count, 1);
    assert_eq!(of(&bench.log(), 1), [1]);
}

#[test]
fn a_stretch_is_the_whole_from_there_on_wherever_it_begins() {
    let bench = Bench::new();
    let daemon = bench.open();
    for seq in 0..600 {
        daemon.append(&event(1, seq)).unwrap();
    }
    let whole = bench.log();
    for from in [0, 1, 255, 256, 257, 511, 512, 513, 599, 600] {
        for file in [&daemon, &bench.open()] {
            let log = file.since(from).unwrap();
            assert_eq!(log.from, from);
            assert_eq!(log.entries, whole.entries[from as usize..]);
            assert_eq!(log.head(), whole.head());
        }
    }
    assert!(daemon.since(601).is_err());
}

#[test]
fn others_can_neither_read_the_log_nor_put_one_there() {
    let bench = Bench::new();
    two_events(&bench);
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    let dir = bench.log_dir();
    assert_eq!((mode(&dir), mode(&dir.join("events"))), (0o700, 0o600));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).unwrap();
    let open = || EventFile::open_in(&dir, Arc::clone(&bench.td) as _, bench.boot);
    assert!(matches!(open(), Err(EventError::Io { .. })));
    fs::remove_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink(bench.dir.path(), &dir).unwrap();
    assert!(open().is_err());
}

#[test]
fn a_kernel_without_the_register_has_no_log_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("tdx");
    let td = Arc::new(OldKernel(FakeTd::new(dir.path())));
    assert!(EventFile::open(&log, td).unwrap().is_none());
    assert!(!log.exists());
    let td = Arc::new(FakeTd::new(dir.path()));
    assert!(EventFile::open(&log, td).unwrap().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Several daemons, some with several threads, some looking in between, on one machine.
    #[test]
    fn daemons_at_once_lose_and_reorder_nothing(counts in prop::collection::vec(1u64..15, 2..5), foreign in 0usize..4) {
        let bench = Bench::new();
        std::thread::scope(|scope| {
            for (daemon, count) in counts.iter().enumerate() {
                let bench = &bench;
                scope.spawn(move || {
                    let file = bench.open();
                    std::thread::scope(|scope| {
                        for thread in 0..2 {
                            let file = &file;
                            scope.spawn(move || {
                                for seq in 0..*count {
                                    let instance = (2 * daemon + thread) as u8;
                                    let head = file.append(&event(instance, seq)).unwrap();
                                    assert!(head.count > seq);
                                    assert!(file.since(seq).unwrap().head().count >= head.count);
                                }
                            });
                        }
                    });
                });
            }
            scope.spawn(|| {
                for _ in 0..foreign {
                    std::thread::sleep(Duration::from_millis(2));
                    bench.td.foreign();
                }
            });
        });
        let log = bench.log();
        for (daemon, count) in counts.iter().enumerate() {
            for thread in 0..2 {
                let want: Vec<u64> = (0..*count).collect();
                prop_assert_eq!(of(&log, (2 * daemon + thread) as u8), want);
            }
        }
        prop_assert!(log.foreign() <= foreign);
    }
}

/// The directory that a child of the next test appends in, and its instance.
const CHILD: &str = "ATLAS_TEST_EVENT_CHILD";

/// Does nothing by itself: it is the body of the processes that the next test kills.
#[test]
fn a_child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let td = Arc::new(FakeTd::new(dir.parent().unwrap()));
    let log = dir.parent().unwrap().join("run/tdx");
    let file = EventFile::open_in(&log, td, Sha256([5; 32]))
        .unwrap()
        .unwrap();
    let instance: u8 = dir.file_name().unwrap().to_str().unwrap().parse().unwrap();
    for seq in 0.. {
        file.append(&event(instance, seq)).unwrap();
    }
}

fn child(bench: &Bench, instance: u8) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "attest::events::tests::a_child_appends_until_it_is_killed",
        ])
        .env(CHILD, bench.dir.path().join(instance.to_string()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_daemon_leaves_a_log_that_explains_the_register() {
    let bench = Bench::new();
    drop(bench.open());
    let length = || fs::metadata(bench.log_dir().join("events")).unwrap().len();
    let mut appended = 0;
    for round in 0..12u8 {
        let names = [100 + 2 * round, 101 + 2 * round];
        let mut children = names.map(|n| child(&bench, n));
        for child in &mut children {
            let start = Instant::now();
            let before = length();
            while length() < before + 1000 {
                assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
                assert!(start.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_micros(300));
            }
            std::thread::sleep(Duration::from_micros(u64::from(round) * 173 % 1500));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let log = bench.log();
        assert_eq!(log.foreign(), 0);
        for name in names {
            let events = of(&log, name);
            let want: Vec<u64> = (0..events.len() as u64).collect();
            assert_eq!(events, want);
            appended += events.len();
        }
    }
    assert_eq!(bench.log().entries.len(), appended);
}
