use super::*;
use proptest::prelude::*;

fn key(byte: u8) -> WalKey {
    WalKey::new([byte; 32])
}

fn tree(size: u64) -> Tree {
    let leaves: Vec<Vec<u8>> = (0..size).map(|n| n.to_be_bytes().to_vec()).collect();
    let mut tree = Tree::default();
    tree.grow(&leaves, &mut Vec::new()).unwrap();
    tree
}

#[test]
fn a_segment_begins_with_the_tree_that_it_was_given() {
    for size in [0, 1, 255, 256, 257, 700, 65_536, 65_600] {
        let dir = tempfile::tempdir().unwrap();
        let made = tree(size);
        drop(Wal::begin(dir.path(), &made, &key(1)).unwrap());
        let (wal, read) = Wal::open(dir.path(), &key(1)).unwrap().unwrap();
        assert_eq!(read, made);
        assert_eq!(wal.start(), size);
    }
}

#[test]
fn a_leaf_that_looks_like_a_batch_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::begin(dir.path(), &Tree::default(), &key(1)).unwrap();
    // What a leaf could hold: the very frame that would follow, cut out of its place.
    let root = Sha256([7; 32]);
    let inner = wal.encode(0, &root, &[b"x".to_vec()]);
    let outer = wal.encode(0, &root, std::slice::from_ref(&inner));
    wal.append(&outer).unwrap();
    // A frame of another place is not one here.
    wal.append(&inner).unwrap();
    drop(wal);
    let (mut wal, _) = Wal::open(dir.path(), &key(1)).unwrap().unwrap();
    let mut frames = Vec::new();
    wal.replay(|f| {
        frames.push(f);
        Ok::<(), io::Error>(())
    })
    .unwrap();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].leaves, [inner]);
}

#[test]
fn batches_longer_than_the_room_of_a_file_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::begin(dir.path(), &Tree::default(), &key(1)).unwrap();
    let mut first = 0;
    for count in [1, 900, 1, 400] {
        let leaves = vec![vec![5; 1000]; count];
        let frame = wal.encode(first, &Sha256([1; 32]), &leaves);
        wal.append(&frame).unwrap();
        first += count as u64;
    }
    drop(wal);
    let (mut wal, _) = Wal::open(dir.path(), &key(1)).unwrap().unwrap();
    let mut end = 0;
    wal.replay(|f| {
        end = f.end();
        Ok::<(), io::Error>(())
    })
    .unwrap();
    assert_eq!(end, 1302);
}

#[test]
fn a_batch_that_was_not_written_with_the_logs_key_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = Sha256([7; 32]);
    let mut wal = Wal::begin(dir.path(), &Tree::default(), &key(1)).unwrap();
    wal.append(&wal.encode(0, &root, &[b"ours".to_vec()]))
        .unwrap();
    // Whoever can write the disk, at the right place, and does not know the key.
    wal.key = key(2);
    wal.append(&wal.encode(1, &root, &[b"his".to_vec()]))
        .unwrap();
    drop(wal);
    let (mut wal, _) = Wal::open(dir.path(), &key(1)).unwrap().unwrap();
    let mut read = Vec::new();
    wal.replay(|f| {
        read.extend(f.leaves);
        Ok::<(), io::Error>(())
    })
    .unwrap();
    assert_eq!(read, [b"ours"]);
}

proptest! {
    #[test]
    fn hostile_segments_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut whole = MAGIC.to_vec();
        whole.extend((bytes.len() as u32).to_be_bytes());
        whole.extend(checksum(&key(1), 0, 0, &bytes));
        whole.extend(&bytes);
        let _ = read_header(&mut &whole[..], &key(1)).unwrap();
        let _ = frame(&bytes);
    }
}
