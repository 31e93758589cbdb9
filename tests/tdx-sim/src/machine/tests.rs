//! The machine by itself: no mount, no time.

use super::*;

const NOW: i64 = 1_800_000_000;

fn machine() -> Machine {
    let world = World::new(NOW).unwrap();
    let collateral = CollateralSpec::at(NOW);
    Machine::new(world, Td::default(), Settings::default(), collateral)
}

fn read(machine: &mut Machine, id: ItemId) -> Result<Arc<[u8]>, Errno> {
    match machine.begin(id)? {
        Outblob::Ready(blob) => Ok(blob),
        Outblob::Pending(pending) => machine.finish(pending),
    }
}

fn order(machine: &mut Machine, line: &str) {
    machine.command(line.parse().unwrap()).unwrap();
}

fn report_data(quote: &[u8]) -> &[u8] {
    &quote[48 + 520..48 + 584]
}

#[test]
fn a_quote_is_made_once_for_each_input() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    assert_eq!(machine.make_item("a"), Err(Errno(libc::EEXIST)));
    assert_eq!(read(&mut machine, id).unwrap_err(), Errno(libc::EINVAL));
    machine.commit(id, &[1; 64]).unwrap();
    let first = read(&mut machine, id).unwrap();
    assert_eq!(read(&mut machine, id).unwrap(), first);
    assert_eq!(machine.quotes, 1);
    assert_eq!(report_data(&first), [1; 64]);
    // The same bytes again are another input.
    machine.commit(id, &[1; 64]).unwrap();
    assert_ne!(read(&mut machine, id).unwrap(), first);
    assert_eq!(machine.generation(id).unwrap(), "2\n");
}

#[test]
fn a_wrong_length_is_found_by_the_reader_only() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    machine.commit(id, &[1; 32]).unwrap();
    order(&mut machine, "fail EBUSY");
    assert_eq!(read(&mut machine, id).unwrap_err(), Errno(libc::EINVAL));
    // The order waits for a quote that could have been.
    machine.commit(id, &[1; 64]).unwrap();
    assert_eq!(read(&mut machine, id).unwrap_err(), Errno(libc::EBUSY));
    assert!(read(&mut machine, id).is_ok());
}

#[test]
fn a_quote_in_the_making_is_not_taken_for_a_later_input() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    machine.commit(id, &[1; 64]).unwrap();
    let Outblob::Pending(pending) = machine.begin(id).unwrap() else {
        panic!("it is made on the first read");
    };
    machine.commit(id, &[2; 64]).unwrap();
    assert_eq!(report_data(&machine.finish(pending).unwrap()), [1; 64]);
    assert_eq!(report_data(&read(&mut machine, id).unwrap()), [2; 64]);
}

#[test]
fn faults_come_one_a_quote_in_the_order_they_were_ordered() {
    let mut machine = machine();
    order(&mut machine, "latency 4");
    order(&mut machine, "fail EIO 2");
    order(&mut machine, "swap");
    order(&mut machine, "hang 250");
    let id = machine.make_item("a").unwrap();
    machine.commit(id, &[1; 64]).unwrap();
    assert_eq!(read(&mut machine, id).unwrap_err(), Errno(libc::EIO));
    assert_eq!(read(&mut machine, id).unwrap_err(), Errno(libc::EIO));
    assert_ne!(report_data(&read(&mut machine, id).unwrap()), [1; 64]);
    assert_eq!(machine.generation(id).unwrap(), "1\n");
    machine.commit(id, &[1; 64]).unwrap();
    let Outblob::Pending(pending) = machine.begin(id).unwrap() else {
        panic!("another input, another quote");
    };
    assert_eq!(pending.wait, Duration::from_millis(254));
    assert_eq!(report_data(&machine.finish(pending).unwrap()), [1; 64]);
}

#[test]
fn a_race_shows_in_the_generation() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    order(&mut machine, "race");
    machine.commit(id, &[1; 64]).unwrap();
    assert_eq!(machine.generation(id).unwrap(), "2\n");
    assert_ne!(report_data(&read(&mut machine, id).unwrap()), [1; 64]);

    order(&mut machine, "race late");
    machine.commit(id, &[1; 64]).unwrap();
    assert_eq!(report_data(&read(&mut machine, id).unwrap()), [1; 64]);
    assert_eq!(machine.generation(id).unwrap(), "4\n");
}

#[test]
fn registers_take_48_bytes_from_the_beginning_and_nothing_else() {
    let mut machine = machine();
    for (offset, length, wanted) in [
        (0, 47, Err(Errno(libc::EINVAL))),
        (1, 48, Err(Errno(libc::EINVAL))),
        (47, 1, Err(Errno(libc::EINVAL))),
        (48, 48, Err(Errno(libc::EFBIG))),
        (0, 48, Ok(48)),
        (0, 64, Ok(48)),
    ] {
        let before = machine.td().rtmr[3];
        assert_eq!(machine.extend(3, offset, &vec![7; length]), wanted);
        assert_eq!(machine.td().rtmr[3] != before, wanted.is_ok());
    }
}

#[test]
fn a_reboot_leaves_no_item_behind_and_no_quote_in_the_making() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    machine.commit(id, &[1; 64]).unwrap();
    order(&mut machine, &format!("extend 3 {}", "ab".repeat(48)));
    assert_ne!(machine.td().rtmr[3], [0; 48]);
    let Outblob::Pending(pending) = machine.begin(id).unwrap() else {
        panic!("it is made on the first read");
    };
    order(&mut machine, "reboot");
    assert_eq!(machine.finish(pending).unwrap_err(), Errno(libc::ENOENT));
    assert_eq!(machine.td().rtmr, Td::default().rtmr);
    assert_ne!(machine.make_item("a").unwrap(), id);
}

#[test]
fn without_a_driver_there_is_no_such_device() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    machine.commit(id, &[1; 64]).unwrap();
    order(&mut machine, "provider off");
    for error in [
        machine.provider(id).unwrap_err(),
        machine.make_item("b").unwrap_err(),
        read(&mut machine, id).unwrap_err(),
    ] {
        assert_eq!(error, Errno(libc::ENXIO));
    }
}

#[test]
fn padded_and_cut_quotes_have_the_length_that_was_ordered() {
    let mut machine = machine();
    let id = machine.make_item("a").unwrap();
    for (line, wanted) in [("pad 8000", 8000), ("truncate 100", 100)] {
        order(&mut machine, line);
        machine.commit(id, &[1; 64]).unwrap();
        assert_eq!(read(&mut machine, id).unwrap().len(), wanted);
    }
}

#[test]
fn a_line_that_is_no_command_is_refused_whole() {
    for line in [
        "",
        "sing",
        "fail",
        "fail EPERM",
        "fail EIO many",
        "extend 4 00",
        "extend 3 00",
        "debug",
        "debug maybe",
        "reboot now",
        "pad 99999999999",
        "swap 1 2",
        "tcb Fine",
        "race early",
    ] {
        assert!(line.parse::<Command>().is_err(), "{line:?}");
    }
}
