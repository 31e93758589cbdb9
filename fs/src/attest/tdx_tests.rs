use std::fs;

use super::*;

/// Plain directories in the place of the kernel's.
fn plain() -> (tempfile::TempDir, Interfaces) {
    let dir = tempfile::tempdir().unwrap();
    let interfaces = Interfaces {
        tsm: dir.path().join("report"),
        measurements: dir.path().join("measurements"),
        ccel: dir.path().join("CCEL"),
    };
    fs::create_dir(&interfaces.measurements).unwrap();
    (dir, interfaces)
}

#[test]
fn a_machine_without_the_interfaces_has_nobody_and_no_log() {
    let (_dir, interfaces) = plain();
    assert_eq!(interfaces.present().unwrap(), Presence::Absent);
    assert!(!interfaces.has_rtmr());
    assert_eq!(interfaces.ccel().unwrap(), None);
    let error = interfaces.rtmr3().unwrap_err().to_string();
    assert!(error.contains("Linux 6.16"), "{error}");
}

#[test]
fn a_directory_that_is_no_configfs_is_neither_genuine_nor_taken_for_absent() {
    let (_dir, interfaces) = plain();
    fs::create_dir(&interfaces.tsm).unwrap();
    assert!(!interfaces.genuine());
    assert!(interfaces.present().is_err());
    assert_eq!(fs::read_dir(&interfaces.tsm).unwrap().count(), 0);
    // sysfs is not configfs either.
    let sysfs = Interfaces {
        tsm: "/sys/kernel".into(),
        ..interfaces
    };
    assert!(!sysfs.genuine());
}

#[test]
fn a_measurement_of_another_length_is_refused() {
    let (_dir, interfaces) = plain();
    let file = interfaces.place(Measurement::Rtmr3);
    for length in [0, 47, 49, 4096] {
        fs::write(&file, vec![1; length]).unwrap();
        assert!(interfaces.rtmr3().is_err(), "{length}");
    }
    fs::write(&file, [3; 48]).unwrap();
    assert!(interfaces.has_rtmr());
    assert_eq!(interfaces.rtmr3().unwrap(), [3; 48]);
    fs::write(interfaces.measurements.join("mrconfigid"), [4; 48]).unwrap();
    assert_eq!(interfaces.read(Measurement::MrConfigId).unwrap(), [4; 48]);
}

#[test]
fn an_extension_writes_48_bytes_at_the_beginning_and_creates_nothing() {
    let (_dir, interfaces) = plain();
    assert!(interfaces.extend_rtmr3(&[9; 48]).is_err());
    let file = interfaces.place(Measurement::Rtmr3);
    assert!(!file.exists());
    fs::write(&file, [1; 50]).unwrap();
    interfaces.extend_rtmr3(&[9; 48]).unwrap();
    let now = fs::read(&file).unwrap();
    assert_eq!((&now[..48], &now[48..]), (&[9; 48][..], &[1; 2][..]));
}

#[test]
fn an_endless_event_log_is_refused_and_its_fill_kept() {
    let (_dir, interfaces) = plain();
    fs::write(&interfaces.ccel, [0xff; 100]).unwrap();
    assert_eq!(interfaces.ccel().unwrap().unwrap(), [0xff; 100]);
    File::create(&interfaces.ccel)
        .unwrap()
        .set_len(MAX_CCEL + 1)
        .unwrap();
    assert!(interfaces.ccel().is_err());
}

#[test]
fn a_request_is_read_to_its_bound_and_never_created_by_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = Kernel::at(dir.path());
    kernel.mkdir("r").unwrap();
    assert!(kernel.write("r", "inblob", &[1; 64]).is_err());
    let long = dir.path().join("r/outblob");
    fs::write(&long, vec![5; 40_000]).unwrap();
    assert_eq!(kernel.read("r", "outblob", 50_000).unwrap().len(), 40_000);
    assert_eq!(kernel.read("r", "outblob", 20_001).unwrap().len(), 20_001);
    assert_eq!(kernel.write("r", "outblob", &[1; 64]).unwrap(), 64);
    assert_eq!(fs::metadata(&long).unwrap().len(), 40_000);
    fs::remove_file(&long).unwrap();
    assert_eq!(kernel.names().unwrap(), ["r"]);
    kernel.rmdir("r").unwrap();
}

#[test]
fn a_pause_ends_when_it_is_cancelled() {
    let kernel = Kernel::at(Path::new("/"));
    kernel.pause(Duration::from_secs(3600), &AtomicBool::new(true));
    kernel.pause(Duration::from_millis(1), &AtomicBool::new(false));
    assert!(kernel.now() < Duration::from_secs(60));
}
