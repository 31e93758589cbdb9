//! Asking witnesses: our own, and such as lie, hang or have seen more. Not the witness' own answers: `witness_server`.

mod lab;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::cosignature::{Witnessed, cosign, witnessed};
use atlas_manifests::log::note::KeyKind;
use atlas_manifests::log::quorum::Quorum;
use atlas_net::cosigner::Cosigner;
use atlas_net::http::Http;
use atlas_net::serving::{Ends, Serving};
use atlas_net::witness::{Answer, Witness, ask_all};
use atlas_net::witness_server::serve;
use lab::{Liar, Log, ORIGIN, answer, http};

struct Own {
    _dir: tempfile::TempDir,
    server: Serving,
    witness: Witness,
}

fn own(name: &str) -> Own {
    let dir = tempfile::tempdir().unwrap();
    let cosigner = Cosigner::open(dir.path(), Some(name), &[Log::new(ORIGIN, 1).key]).unwrap();
    let key = cosigner.key().clone();
    let server = serve(cosigner, "127.0.0.1:0".parse().unwrap(), Ends::WithOwner).unwrap();
    let witness = Witness {
        name: name.to_owned(),
        key,
        url: format!("http://{}/", server.addr()),
    };
    Own {
        _dir: dir,
        server,
        witness,
    }
}

fn ask(witness: &Witness, log: &Log, size: u64, old: u64) -> Answer {
    let proofs = |from: u64| Ok(log.proof(from, size));
    witness.ask(&http(), &log.checkpoint(size), &log.key, old, &proofs)
}

#[test]
fn a_witness_is_asked_again_from_what_it_remembers() {
    let (own, log) = (own("w.example"), Log::new(ORIGIN, 1));
    for (size, old) in [(0, 0), (5, 0), (9, 5), (12, 0), (12, 12), (20, 3), (20, 99)] {
        let Answer::Cosigned(line) = ask(&own.witness, &log, size, old) else {
            panic!("{size} from {old}");
        };
        let mut with = log.checkpoint(size);
        with.note.add(line);
        assert!(matches!(
            witnessed(&with, &own.witness.key),
            Witnessed::At(_)
        ));
        let head = own
            .witness
            .head(&http(), ORIGIN, &log.key)
            .unwrap()
            .unwrap();
        assert_eq!(head.head.head, log.head(size));
    }
    own.server.stop();
    let Answer::Unreachable(why) = ask(&own.witness, &log, 20, 20) else {
        panic!("it is gone");
    };
    assert!(why.contains("add-checkpoint"), "{why}");
}

#[test]
fn a_witness_that_saw_more_or_something_else_shows_it() {
    let (own, log) = (own("w.example"), Log::new(ORIGIN, 1));
    assert!(matches!(ask(&own.witness, &log, 9, 0), Answer::Cosigned(_)));
    for old in [0, 5] {
        let Answer::Ahead { size, shown } = ask(&own.witness, &log, 5, old) else {
            panic!("it must not be signed");
        };
        assert_eq!((size, shown.unwrap().head.head), (9, log.head(9)));
    }
    let fork = Log::forked(1, 3);
    for size in [9, 12] {
        for old in [0, 9] {
            let Answer::Conflict { shown } = ask(&own.witness, &fork, size, old) else {
                panic!("{size} from {old}");
            };
            assert_eq!(shown.unwrap().head.head, log.head(9));
        }
    }
    let stranger = Log::new("log.example/2", 1);
    let unknown = ask(&own.witness, &stranger, 5, 0);
    assert!(matches!(&unknown, Answer::Unreachable(why) if why.contains("404")));
    let rotated = ask(&own.witness, &Log::new(ORIGIN, 2), 12, 9);
    assert!(matches!(&rotated, Answer::Unreachable(why) if why.contains("403")));
}

/// What a liar answers with, instead of the cosignature of now.
fn lying(body: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> (Liar, Witness) {
    let liar = Liar::new(move |_, _, _| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        answer("200 OK", "", &body(now.as_secs()))
    });
    let witness = Witness {
        name: "w".to_owned(),
        key: lab::key("w.example", KeyKind::Cosignature, 7).0,
        url: liar.url.clone(),
    };
    (liar, witness)
}

/// A cosignature by the key of this seed, of this size at this time.
fn line(name: &str, seed: u8, size: u64, time: u64) -> Vec<u8> {
    let (key, pair) = lab::key(name, KeyKind::Cosignature, seed);
    let checkpoint = Log::new(ORIGIN, 1).checkpoint(size);
    let sign = |m: &[u8]| pair.sign(m).as_ref().try_into().unwrap();
    cosign(&key, &checkpoint, time, sign)
        .to_string()
        .into_bytes()
}

fn refused(lie: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> String {
    let (_liar, witness) = lying(lie);
    match ask(&witness, &Log::new(ORIGIN, 1), 5, 0) {
        Answer::Unreachable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_lies_cosigns_nothing() {
    let (_liar, witness) = lying(|now| {
        let other = line("other.example", 8, 5, now);
        [other, line("w.example", 7, 5, now)].concat()
    });
    let good = ask(&witness, &Log::new(ORIGIN, 1), 5, 0);
    let Answer::Cosigned(kept) = good else {
        panic!("{good:?}");
    };
    assert_eq!(kept.name, "w.example", "only its own line");

    let other_key = refused(|now| line("w.example", 8, 5, now));
    assert!(other_key.contains("no cosignature"), "{other_key}");
    assert!(refused(|now| line("w.example", 7, 6, now)).contains("forged"));
    for offset in [-3600_i64, 3600] {
        let why = refused(move |now| line("w.example", 7, 5, now.saturating_add_signed(offset)));
        assert!(why.contains("clocks"), "{why}");
    }
    assert!(refused(|_| line("w.example", 7, 5, 0)).contains("clocks"));
    // A forged line beside a good one.
    let both = refused(|now| {
        let mut forged = line("w.example", 7, 6, now);
        forged.extend(line("w.example", 7, 5, now));
        forged
    });
    assert!(both.contains("forged"), "{both}");
    for garbage in [&b""[..], b"\n", b"ok\n", &[0xff; 10], b"\xe2\x80\x94 w x\n"] {
        refused(move |_| garbage.to_vec());
    }
    assert!(refused(|_| vec![b'a'; 10 << 20]).contains("longer than"));
}

#[test]
fn a_server_that_misuses_http_is_no_witness() {
    let log = Log::new(ORIGIN, 1);
    let of = |lie: Box<lab::Lie>| {
        let liar = Liar::new(move |n, first, body| lie(n, first, body));
        let witness = Witness {
            name: "w".to_owned(),
            key: lab::key("w.example", KeyKind::Cosignature, 7).0,
            url: liar.url.clone(),
        };
        ask(&witness, &log, 9, 5)
    };
    let why = |a: Answer| match a {
        Answer::Unreachable(why) => why,
        other => panic!("{other:?}"),
    };
    const SIZE: &str = "Content-Type: text/x.tlog.size\r\n";
    let conflict = |headers: &'static str, body: &'static str| -> Box<lab::Lie> {
        Box::new(move |_, _, _| answer("409 Conflict", headers, body.as_bytes()))
    };
    assert!(why(of(conflict("", "3\n"))).contains("without a size"));
    for body in ["3", "03\n", "\n", "x\n", "3\n\n", "-1\n"] {
        assert!(
            why(of(conflict(SIZE, body))).contains("without a size"),
            "{body}"
        );
    }
    assert!(why(of(conflict(SIZE, "3\n"))).contains("409 again"));
    assert!(why(of(conflict(SIZE, "5\n"))).contains("409 again"));
    // It only says so: nothing shows that a larger head was ever signed.
    let boast = of(Box::new(|_, first, _| match first.starts_with("POST") {
        true => answer("409 Conflict", SIZE, b"12\n"),
        false => answer("200 OK", "", b"garbage\n\ngarbage\n"),
    }));
    assert_eq!(
        boast,
        Answer::Ahead {
            size: 12,
            shown: None
        }
    );
    let moved: Box<lab::Lie> =
        Box::new(|_, _, _| answer("307 Moved", "Location: http://127.0.0.1:9/\r\n", b""));
    assert!(why(of(moved)).contains("redirects to"));
    assert!(why(of(Box::new(|_, _, _| answer("500 Oh", "", b"")))).contains("500"));
    assert!(why(of(Box::new(|_, _, _| b"nonsense\r\n\r\n".to_vec()))).contains("http://"));
    let begun = Instant::now();
    assert!(why(of(Box::new(|_, _, _| Vec::new()))).contains("in time"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn one_that_hangs_keeps_no_other_waiting() {
    let log = Log::new(ORIGIN, 1);
    let (one, two) = (own("a.example"), own("b.example"));
    let (hanging, mute) = {
        let liar = Liar::new(|_, _, _| Vec::new());
        let url = liar.url.clone();
        (liar, url)
    };
    let hangs = Witness {
        url: mute,
        ..one.witness.clone()
    };
    let asked = [
        (one.witness.clone(), 0),
        (hangs.clone(), 0),
        (two.witness.clone(), 0),
        (hangs, 0),
    ];
    let begun = Instant::now();
    let client = Http::new(Duration::from_secs(1));
    let proofs = |from: u64| Ok(log.proof(from, 5));
    let answers = ask_all(&client, &asked, &log.checkpoint(5), &log.key, &proofs);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "not one after the other"
    );
    drop(hanging);
    let mut checkpoint = log.checkpoint(5);
    for answer in answers {
        if let Answer::Cosigned(line) = answer {
            checkpoint.note.add(line);
        }
    }
    let policy = format!(
        "log {}\nwitness a {}\nwitness b {}\ngroup all all a b\nquorum all\n",
        log.key, one.witness.key, two.witness.key
    );
    let quorum = Quorum::parse(policy.as_bytes()).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(quorum.judge(&checkpoint, Some(now), 5).met);
}

#[test]
fn a_head_that_log_or_witness_did_not_sign_is_not_believed() {
    let log = Log::new(ORIGIN, 1);
    let signed = |seed: u8, size: u64| {
        let mut c = log.checkpoint(size);
        let (key, pair) = lab::key("w.example", KeyKind::Cosignature, seed);
        let line = cosign(&key, &c, 1000, |m| {
            pair.sign(m).as_ref().try_into().unwrap()
        });
        c.note.add(line);
        c
    };
    let head = |bytes: Vec<u8>| {
        let (_liar, witness) = lying(move |_| bytes.clone());
        witness.head(&http(), ORIGIN, &log.key)
    };
    let good = signed(7, 5);
    assert_eq!(head(good.encode()).unwrap().unwrap(), good);
    assert!(head(signed(8, 5).encode()).is_err(), "another witness'");
    assert!(head(log.checkpoint(5).encode()).is_err(), "nobody's");
    assert!(head(Log::new("log.example/2", 1).checkpoint(5).encode()).is_err());
    assert!(head(Log::new(ORIGIN, 2).checkpoint(5).encode()).is_err());
    assert!(head(b"garbage".to_vec()).is_err());
    let hash = Sha256::of(ORIGIN.as_bytes()).hex();
    let (liar, mut witness) = lying(|_| Vec::new());
    drop(liar);
    let none = Liar::new(move |_, first, _| {
        assert_eq!(first, format!("GET /x/{hash}/checkpoint HTTP/1.1"));
        answer("404 Not Found", "", b"")
    });
    witness.url = format!("{}/x/", none.url);
    assert_eq!(witness.head(&http(), ORIGIN, &log.key), Ok(None));
}
