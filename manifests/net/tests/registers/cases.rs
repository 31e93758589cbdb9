//! What every register must do, whatever it is on.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use atlas_manifests::log::register::{MAX_VALUE, Register, RegisterError, Swapped};
use atlas_net::register::{PATIENCE, connect_with, open_with};

use crate::servers::Server;

/// How registers on one server are named, and who may use them.
pub(crate) struct Store {
    /// With `KEY` in the place of a key.
    pub(crate) address: String,
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Store {
    fn env(&self, name: &str) -> Option<String> {
        let all = self.env.iter();
        all.filter(|(n, _)| *n == name)
            .map(|(_, v)| v.clone())
            .next()
    }

    pub(crate) fn open(&self, key: &str) -> Result<Box<dyn Register>, RegisterError> {
        open_with(&self.address.replace("KEY", key), &|name| self.env(name))
    }

    pub(crate) fn connect(&self, key: &str) -> Box<dyn Register> {
        let address = self.address.replace("KEY", key);
        connect_with(&address, &|name| self.env(name)).expect("an address")
    }

    /// Why it is not opened, which says no secret.
    pub(crate) fn unfit(&self, secret: &str) -> String {
        let told = self.open("unfit").err().expect("it is refused");
        assert!(matches!(told, RegisterError::Unfit { .. }), "{told}");
        let told = told.to_string();
        assert!(!told.contains(secret) && !told.contains('\n'), "{told}");
        told
    }
}

/// All but what needs the server itself.
pub(crate) fn all(store: &Store) {
    keeps_what_it_is_given(store);
    has_one_winner(store);
    is_one_for_all(store);
    is_quick(store);
}

fn keeps_what_it_is_given(store: &Store) {
    let register = store.open("kept").expect("it compares and swaps");
    assert_eq!(register.load().unwrap(), None);
    let mut old: Option<Vec<u8>> = None;
    for new in [
        vec![],
        vec![0],
        vec![0xff; 600],
        b"\"'\\\n<&%".to_vec(),
        vec![7; MAX_VALUE],
    ] {
        assert_eq!(register.swap(Some(b"stale"), &new).unwrap(), Swapped::Lost);
        assert_eq!(register.load().unwrap(), old);
        assert_eq!(register.swap(old.as_deref(), &new).unwrap(), Swapped::Done);
        assert_eq!(register.load().unwrap().as_ref(), Some(&new));
        assert_eq!(register.swap(None, b"again").unwrap(), Swapped::Lost);
        old = Some(new);
    }
    let long = register.swap(old.as_deref(), &vec![0; MAX_VALUE + 1]);
    assert!(matches!(long, Err(RegisterError::Unfit { .. })), "{long:?}");
    assert_eq!(register.load().unwrap(), old);
}

fn has_one_winner(store: &Store) {
    for key in ["race/1", "race/2", "race/3"] {
        // Each on connections of its own, and all on one.
        let shared = store.connect(key);
        let own: Vec<_> = (0..16).map(|_| store.connect(key)).collect();
        for round in 0..4_u8 {
            let old = shared.load().unwrap();
            let old = old.as_deref();
            let won: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..16_u8)
                    .map(|i| {
                        let register = if round == 3 {
                            &shared
                        } else {
                            &own[usize::from(i)]
                        };
                        scope.spawn(move || register.swap(old, &[round, i]))
                    })
                    .collect();
                let join = |t: thread::ScopedJoinHandle<'_, _>| t.join().unwrap();
                threads.into_iter().map(join).collect()
            });
            let done = |i: &u8| matches!(won[usize::from(*i)], Ok(Swapped::Done));
            let winners: Vec<_> = (0..16_u8).filter(done).collect();
            assert!(won.iter().all(Result::is_ok), "{key}: {won:?}");
            assert_eq!(winners.len(), 1, "{key}: {won:?}");
            assert_eq!(shared.load().unwrap(), Some(vec![round, winners[0]]));
        }
    }
}

fn is_one_for_all(store: &Store) {
    let (one, two) = (store.open("both").unwrap(), store.open("both").unwrap());
    assert_eq!(one.swap(None, b"1").unwrap(), Swapped::Done);
    assert_eq!(two.swap(None, b"2").unwrap(), Swapped::Lost);
    assert_eq!(two.load().unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(two.swap(Some(b"1"), b"2").unwrap(), Swapped::Done);
    assert_eq!(one.swap(Some(b"1"), b"3").unwrap(), Swapped::Lost);
    // A value that is there again is the one that was there: it is compared by value.
    assert_eq!(two.swap(Some(b"2"), b"1").unwrap(), Swapped::Done);
    assert_eq!(one.swap(Some(b"1"), b"3").unwrap(), Swapped::Done);
    let other = store.open("both.other").unwrap();
    assert_eq!(other.load().unwrap(), None);
}

/// Says how quick; a number that must hold would fail on a busy machine.
fn is_quick(store: &Store) {
    let register = store.connect("quick");
    let mut old: Option<Vec<u8>> = None;
    let mut took: Vec<_> = (0..200_u8)
        .map(|i| {
            let new = vec![i; 600];
            let begun = Instant::now();
            let swapped = register.swap(old.as_deref(), &new).unwrap();
            assert_eq!(swapped, Swapped::Done);
            old = Some(new);
            begun.elapsed()
        })
        .collect();
    took.sort();
    let name = register.name();
    let _ = writeln!(
        std::io::stderr(),
        "{name}: swap p50 {:?}, p99 {:?}",
        took[100],
        took[198]
    );
}

/// What a crash of the server and its absence do.
pub(crate) fn outlives_its_server(store: &Store, server: &mut Server) {
    let register = store.open("durable").unwrap();
    assert_eq!(register.swap(None, b"before").unwrap(), Swapped::Done);
    thread::scope(|scope| {
        // Swaps until the server is gone: what was told to be stored is.
        let told = scope.spawn(|| {
            let mut last = b"before".to_vec();
            let mut next = 0_u32;
            loop {
                let new = next.to_be_bytes();
                match register.swap(Some(&last), &new) {
                    Ok(swapped) => assert_eq!(swapped, Swapped::Done),
                    Err(e) => {
                        assert!(matches!(e, RegisterError::Unreachable { .. }), "{e}");
                        return (last, new);
                    }
                }
                last = new.to_vec();
                next += 1;
            }
        });
        thread::sleep(Duration::from_millis(300));
        server.kill();
        let (last, asked) = told.join().unwrap();
        is_unreachable(&*register);
        is_unreachable(&*store.connect("durable"));
        server.restart();
        let held = server.until(|| register.load()).expect("a value");
        assert!(
            held == last || held == asked,
            "{held:?}, not {last:?} or {asked:?}"
        );
        assert_eq!(register.swap(Some(&held), b"after").unwrap(), Swapped::Done);
        let other = store.open("durable").unwrap();
        assert_eq!(other.load().unwrap().as_deref(), Some(&b"after"[..]));
    });
}

/// Nobody waits for a server that has stopped in the middle of its work.
pub(crate) fn gives_up_on_a_frozen_server(store: &Store, server: &mut Server) {
    let register = store.open("frozen").unwrap();
    assert_eq!(register.swap(None, b"before").unwrap(), Swapped::Done);
    server.freeze();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| is_unreachable(&*register));
        }
        scope.spawn(|| is_unreachable(&*store.connect("frozen")));
        scope.spawn(|| {
            let begun = Instant::now();
            let told = store.open("other").err();
            assert!(
                matches!(told, Some(RegisterError::Unreachable { .. })),
                "{told:?}"
            );
            assert!(begun.elapsed() < PATIENCE + Duration::from_secs(5));
        });
    });
    server.thaw();
    let held = server.until(|| register.load());
    assert_eq!(held.as_deref(), Some(&b"before"[..]));
}

fn is_unreachable(register: &dyn Register) {
    let begun = Instant::now();
    let told = register.swap(Some(b"stale"), b"lost");
    assert!(
        matches!(told, Err(RegisterError::Unreachable { .. })),
        "{told:?}"
    );
    let took = begun.elapsed();
    assert!(took < PATIENCE + Duration::from_secs(5), "{took:?}");
}
