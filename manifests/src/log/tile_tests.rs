use super::*;
use proptest::prelude::*;

#[test]
fn names_are_those_of_the_specification() {
    for (path, is) in [
        ("checkpoint", Resource::Checkpoint),
        ("tile/0/x001/x234/067", Resource::full(0, 1_234_067)),
        (
            "tile/1/000.p/17",
            Resource::Tile {
                level: 1,
                index: 0,
                width: 17,
            },
        ),
        (
            "tile/entries/273.p/112",
            Resource::Entries {
                index: 273,
                width: 112,
            },
        ),
        ("tile/entries/x001/000", Resource::full_entries(1000)),
    ] {
        assert_eq!(is.path(), path);
        assert_eq!(Resource::parse(path), Ok(is));
    }
}

#[test]
fn other_spellings_name_nothing() {
    for bad in [
        "",
        "/checkpoint",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/00/000",
        "tile/8/000",
        "tile/64/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/x001/x001",
        "tile/0/../000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1/2",
        "tile/0/+01",
        "tile/-1/000",
        "tile/entries/x018/x446/x744/x073/x709/x551/616",
        "tile/entries/000 ",
    ] {
        assert!(Resource::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_bundle_is_exactly_its_leaves() {
    let mut made = Bundle::default();
    for leaf in [&b"one"[..], b"", b"three"] {
        made.push(leaf).unwrap();
    }
    let bytes = made.bytes().to_vec();
    assert_eq!(bytes, b"\0\x03one\0\0\0\x05three");
    let read = Bundle::decode(bytes.clone(), 3).unwrap();
    assert_eq!(read, made);
    assert_eq!(read.get(2), Some(&b"three"[..]));
    assert_eq!(read.get(3), None);
    assert!(Bundle::decode(bytes.clone(), 2).is_err());
    assert!(Bundle::decode(bytes.clone(), 4).is_err());
    let first = Bundle::first(bytes.clone(), 2).unwrap();
    assert_eq!(first.bytes(), b"\0\x03one\0\0");
    for short in 0..bytes.len() {
        assert!(Bundle::decode(bytes[..short].to_vec(), 3).is_err());
    }
    assert!(made.push(&[0; MAX_ENTRY + 1]).is_err());
}

proptest! {
    #[test]
    fn what_is_a_name_has_one_spelling(path in "(tile/)?([0-9]{1,2}|entries)/(x?[0-9]{3}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
        if let Ok(resource) = Resource::parse(&path) {
            prop_assert_eq!(resource.path(), path);
        }
    }

    #[test]
    fn hostile_bundles_do_not_panic(bytes in prop::collection::vec(0u8..4, 0..40), width in 0u16..300) {
        if let Ok(read) = Bundle::decode(bytes.clone(), width) {
            prop_assert_eq!(read.len(), usize::from(width));
            let mut again = Bundle::default();
            for leaf in read.iter() {
                again.push(leaf).unwrap();
            }
            prop_assert_eq!(again.bytes(), bytes);
        }
    }
}
