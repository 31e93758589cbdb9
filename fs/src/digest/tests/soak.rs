//! Writers that do what the engine does, for a while: cancel, open, write, close, submit.

use std::collections::HashMap;
use std::io::Write as _;

use super::*;

#[test]
fn a_proven_digest_is_of_the_bytes_that_were_there_when_its_version_ended() {
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 150;
    for dir in stores() {
        let lab = Lab::new();
        let written: HashMap<u64, Digests> = std::thread::scope(|s| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|w| {
                    let (lab, dir) = ((&lab.pool, &lab.names), dir.path());
                    s.spawn(move || write_versions(lab, dir, w, ROUNDS))
                })
                .collect();
            writers
                .into_iter()
                .flat_map(|w| w.join().unwrap())
                .collect()
        });
        let mut ended = HashMap::new();
        while ended.len() < written.len() {
            match lab.next() {
                Outcome::Done {
                    ticket,
                    digests,
                    quiet,
                    ..
                } => {
                    assert_eq!((digests, quiet), (written[&ticket], Quiet::Proven));
                    assert_eq!(ended.insert(ticket, true), None, "ended twice");
                }
                Outcome::Changed { ticket, .. } => {
                    assert_eq!(ended.insert(ticket, false), None, "ended twice");
                }
                // Another test's child may have the description between fork and exec.
                Outcome::Held { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for w in 0..WRITERS {
            let last = w * ROUNDS + ROUNDS - 1;
            assert!(ended[&last], "nobody wrote after the last version");
        }
        assert!(lab.told.try_recv().is_err());
    }
}

/// Writes one file again and again; gives what each ticket's version was.
fn write_versions(
    (pool, names): (&Arc<DigestPool>, &Arc<Names>),
    dir: &Path,
    writer: u64,
    rounds: u64,
) -> Vec<(u64, Digests)> {
    let path = dir.join(writer.to_string());
    File::create(&path).unwrap();
    let file = names.key(&path);
    let mut written = Vec::new();
    for round in 0..rounds {
        let ticket = writer * rounds + round;
        let content = vec![ticket as u8; (ticket as usize * 7919) % (3 << 20)];
        assert!(pool.cancel(file, FOREVER));
        let mut out = File::create(&path).unwrap();
        out.write_all(&content).unwrap();
        drop(out);
        pool.submit(Job {
            ticket,
            file,
            ended: true,
            tree: None,
            expect: None,
            snapshot: None,
        });
        written.push((ticket, Digests::of(&content)));
        if round % 3 == 0 {
            std::thread::yield_now();
        }
    }
    written
}
