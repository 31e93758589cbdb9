//! The witness over real HTTP: each answer of the specification, races, and a memory that fails. Not who asks it in earnest: `witness_client`.

mod lab;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::cosignature::{Witnessed, witnessed};
use atlas_manifests::log::note::{Signature, Signed, VerifierKey};
use atlas_net::cosigner::{Cosigner, CosignerError};
use atlas_net::http::{Reply, join};
use atlas_net::serving::{Ends, Serving};
use atlas_net::witness_server::serve;
use lab::{Log, ORIGIN, http, request};

struct Lab {
    dir: tempfile::TempDir,
    server: Option<Serving>,
    key: VerifierKey,
    url: String,
}

fn open(dir: &Path) -> Result<Cosigner, CosignerError> {
    let (log, rotated) = (Log::new(ORIGIN, 1), Log::new(ORIGIN, 9));
    let other = Log::new("log.example/2", 3);
    let logs = [log.key, rotated.key, other.key];
    Cosigner::open(dir, Some("w.example/1"), &logs)
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cosigner = open(dir.path()).unwrap();
        let key = cosigner.key().clone();
        let server = serve(cosigner, "127.0.0.1:0".parse().unwrap(), Ends::WithOwner).unwrap();
        let url = format!("http://{}", server.addr());
        let server = Some(server);
        Self {
            dir,
            server,
            key,
            url,
        }
    }

    fn again(&mut self) {
        self.server.take().unwrap().stop();
        let cosigner = open(self.dir.path()).unwrap();
        let server = serve(cosigner, "127.0.0.1:0".parse().unwrap(), Ends::WithOwner).unwrap();
        self.url = format!("http://{}", server.addr());
        self.server = Some(server);
    }

    fn post(&self, body: impl AsRef<[u8]>) -> Reply {
        let url = join(&self.url, "add-checkpoint");
        http()
            .post(&url, "text/plain", body.as_ref(), 1 << 20)
            .unwrap()
    }

    fn status(&self, body: impl AsRef<[u8]>) -> u16 {
        self.post(body).status
    }

    fn get(&self, path: &str) -> Reply {
        http().get(&join(&self.url, path), 1 << 20).unwrap()
    }

    fn head(&self, origin: &str) -> Reply {
        let hash = Sha256::of(origin.as_bytes()).hex();
        self.get(&format!("{hash}/checkpoint"))
    }

    /// The witness cosigned this.
    fn cosigned(&self, checkpoint: &Checkpoint, reply: &Reply) {
        assert_eq!(reply.status, 200, "{reply:?}");
        let mut with = checkpoint.clone();
        let lines = Signature::parse_all(std::str::from_utf8(&reply.body).unwrap()).unwrap();
        with.note.signatures.extend(lines);
        let Witnessed::At(time) = witnessed(&with, &self.key) else {
            panic!("{reply:?}");
        };
        assert!(time > 1_700_000_000);
    }
}

#[test]
fn each_request_gets_the_answer_of_the_specification() {
    let (lab, log) = (Lab::new(), Log::new(ORIGIN, 1));
    assert_eq!(lab.head(ORIGIN).status, 404, "never cosigned");
    // The empty tree, as Rekor begins.
    lab.cosigned(&log.checkpoint(0), &lab.post(log.request(0, 0)));
    lab.cosigned(&log.checkpoint(5), &lab.post(log.request(0, 5)));
    lab.cosigned(&log.checkpoint(5), &lab.post(log.request(5, 5)));
    lab.cosigned(&log.checkpoint(9), &lab.post(log.request(5, 9)));

    let conflict = lab.post(log.request(5, 12));
    assert_eq!((conflict.status, &*conflict.body), (409, &b"9\n"[..]));
    assert_eq!(conflict.content_type.as_deref(), Some("text/x.tlog.size"));
    assert_eq!(lab.status(log.request(0, 12)), 409);
    assert_eq!(lab.status(log.request(5, 5)), 409, "not back either");

    let fork = Log::forked(1, 3);
    assert_eq!(lab.status(fork.request(9, 9)), 422, "same size, other root");
    assert_eq!(lab.status(fork.request(9, 12)), 422, "another history");
    let text = String::from_utf8(log.checkpoint(12).encode()).unwrap();
    assert_eq!(lab.status(request(9, &[], &text)), 422, "no proof");

    let old_beyond = request(13, &[], &text);
    assert_eq!(lab.status(old_beyond), 400);
    for bad in ["", "old 9\n", "old 9\n\n", "old 09\n\nx\n\n", &text] {
        assert_eq!(lab.status(bad), 400, "{bad:?}");
    }
    assert_eq!(lab.status([0xff; 100]), 400);
    assert_eq!(lab.status(vec![b'a'; 1 << 19]), 413);

    let stranger = Log::new("log.example/3", 1);
    assert_eq!(lab.status(stranger.request(0, 1)), 404);
    assert_eq!(lab.status(Log::new(ORIGIN, 2).request(9, 12)), 403);
    let good = log.request(9, 12);
    let mut forged = log.checkpoint(12);
    forged.note.signatures[0].bytes[3] ^= 1;
    let forged = String::from_utf8(forged.encode()).unwrap();
    assert_eq!(lab.status(request(9, &log.proof(9, 12), &forged)), 403);
    lab.cosigned(&log.checkpoint(12), &lab.post(good));

    let url = join(&lab.url, "add-checkpoint");
    assert_eq!(http().get(&url, 1 << 20).unwrap().status, 405);
    for nothing in [
        "",
        "checkpoint",
        "add-checkpoint/",
        "../add-checkpoint",
        "%2e%2e/witness.key",
        "witness.key",
        &format!("{}/checkpoint", "A".repeat(64)),
        &format!("{}/checkpoint", "0".repeat(64)),
        &format!("{}/checkpoint/", Sha256::of(ORIGIN.as_bytes()).hex()),
    ] {
        assert_eq!(lab.get(nothing).status, 404, "{nothing}");
    }
}

#[test]
fn a_first_request_with_a_proof_or_a_false_empty_tree_is_unprocessable() {
    let (lab, log) = (Lab::new(), Log::new(ORIGIN, 1));
    let text = String::from_utf8(log.checkpoint(5).encode()).unwrap();
    assert_eq!(lab.status(request(0, &log.proof(3, 5), &text)), 422);
    // A signed checkpoint of no leaves with a root that none has.
    let of = |log: &Log, origin: &str| {
        let text = format!("{origin}\n0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n");
        let line = log.key.line(log.sign(text.as_bytes()));
        request(0, &[], &format!("{text}\n{line}"))
    };
    assert_eq!(lab.status(of(&log, ORIGIN)), 422);
    assert_eq!(lab.status(of(&log, "log.example/3")), 404);
    assert_eq!(lab.status(of(&Log::new(ORIGIN, 2), ORIGIN)), 403);
    assert_eq!(lab.head(ORIGIN).status, 404, "nothing was remembered");
}

#[test]
fn what_it_shows_has_its_line_and_the_logs_and_no_stranger_s() {
    let (mut lab, log) = (Lab::new(), Log::new(ORIGIN, 9));
    let mut checkpoint = log.checkpoint(5);
    let (stranger, _) = lab::key("s.example", atlas_manifests::log::note::KeyKind::Ed25519, 5);
    checkpoint.note.add(stranger.line(vec![1; 64]));
    let text = String::from_utf8(checkpoint.encode()).unwrap();
    lab.cosigned(&log.checkpoint(5), &lab.post(request(0, &[], &text)));
    for _ in 0..2 {
        let shown = lab.head(ORIGIN);
        assert_eq!(
            shown.content_type.as_deref(),
            Some("text/plain; charset=utf-8")
        );
        let shown = Checkpoint::parse(&shown.body).unwrap();
        assert_eq!(shown.head.head, log.head(5));
        assert_eq!(shown.signed_by_log(&log.key), Signed::Yes);
        assert!(matches!(witnessed(&shown, &lab.key), Witnessed::At(_)));
        assert_eq!(shown.note.signatures.len(), 2);
        // A restart forgets nothing.
        lab.again();
    }
    assert_eq!(lab.status(log.request(0, 7)), 409);
    assert_eq!(lab.head("log.example/2").status, 404);
}

#[test]
fn of_two_requests_that_race_one_is_cosigned() {
    let (lab, log) = (Lab::new(), Log::new(ORIGIN, 1));
    let mut size = 0;
    for _ in 0..12 {
        let barrier = Barrier::new(4);
        let codes: Vec<u16> = std::thread::scope(|s| {
            let all: Vec<_> = (1..=4)
                .map(|more| {
                    let (lab, log, barrier) = (&lab, &log, &barrier);
                    s.spawn(move || {
                        let body = log.request(size, size + more);
                        barrier.wait();
                        lab.status(body)
                    })
                })
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let won: Vec<_> = codes.iter().filter(|c| **c == 200).collect();
        assert_eq!(won.len(), 1, "{codes:?}");
        assert!(codes.iter().all(|c| [200, 409].contains(c)), "{codes:?}");
        size = Checkpoint::parse(&lab.head(ORIGIN).body)
            .unwrap()
            .head
            .head
            .size;
        let winner = codes.iter().position(|c| *c == 200).unwrap() as u64;
        assert_eq!(lab.status(log.request(size, size)), 200, "{winner}");
    }
}

#[test]
fn what_cannot_be_remembered_is_not_cosigned() {
    let (lab, log) = (Lab::new(), Log::new(ORIGIN, 1));
    lab.cosigned(&log.checkpoint(5), &lab.post(log.request(0, 5)));
    let heads = lab.dir.path().join("heads");
    let name = format!("{}.checkpoint", Sha256::of(ORIGIN.as_bytes()).hex());
    // A directory stands where the new head is written: no permission stops root.
    let blocked = heads.join(format!(".tmp-{name}"));
    fs::create_dir(&blocked).unwrap();
    let failed = lab.post(log.request(5, 9));
    assert_eq!(failed.status, 500);
    assert!(!String::from_utf8_lossy(&failed.body).contains('\u{2014}'));
    let shown = Checkpoint::parse(&lab.head(ORIGIN).body).unwrap();
    assert_eq!(shown.head.head.size, 5);
    fs::remove_dir(&blocked).unwrap();
    lab.cosigned(&log.checkpoint(9), &lab.post(log.request(5, 9)));
    // What it remembers is damaged: it does not begin again.
    fs::write(heads.join(&name), "garbage").unwrap();
    assert_eq!(lab.status(log.request(0, 12)), 500);
    assert_eq!(lab.head(ORIGIN).status, 500);
}

#[test]
fn one_witness_runs_on_a_state_and_its_key_stays_its_own() {
    let mut lab = Lab::new();
    let state = lab.dir.path().to_owned();
    assert!(matches!(open(&state), Err(CosignerError::Locked { .. })));
    let file = state.join("witness.key");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let told = fs::read_to_string(state.join("witness.vkey")).unwrap();
    assert_eq!(told, format!("{}\n", lab.key));
    lab.server.take().unwrap().stop();

    let log = [Log::new(ORIGIN, 1).key];
    let of = |name: Option<&str>| Cosigner::open(&state, name, &log);
    assert_eq!(of(None).unwrap().key(), &lab.key);
    assert!(
        of(Some("other"))
            .unwrap_err()
            .to_string()
            .contains("--name")
    );
    assert!(Cosigner::open(&state, None, &[]).is_err(), "no logs");
    let own = [lab.key.clone()];
    assert!(
        Cosigner::open(&state, None, &own).is_err(),
        "not a log's key"
    );

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(of(None).unwrap_err().to_string().contains("chmod 600"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let good = fs::read_to_string(&file).unwrap();
    for bad in [
        "",
        "x",
        good.trim(),
        &good.replacen("w.example/1", "w.example/2", 1),
    ] {
        fs::write(&file, bad).unwrap();
        assert!(
            of(None).unwrap_err().to_string().contains("restore"),
            "{bad}"
        );
    }
    // A new key for heads that another one cosigned would be another witness.
    fs::remove_file(&file).unwrap();
    assert!(of(Some("w.example/1")).is_ok(), "no head yet");
    fs::write(state.join("heads/x.checkpoint"), "").unwrap();
    fs::remove_file(&file).unwrap();
    assert!(
        of(Some("w.example/1"))
            .unwrap_err()
            .to_string()
            .contains("missing")
    );

    let fresh = tempfile::tempdir().unwrap();
    let nameless = Cosigner::open(fresh.path(), None, &log).unwrap_err();
    assert!(nameless.to_string().contains("--name"), "{nameless}");
    for bad in ["a b", "a+b", ""] {
        assert!(
            Cosigner::open(fresh.path(), Some(bad), &log).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_waiting() {
    let (mut lab, log) = (Lab::new(), Log::new(ORIGIN, 1));
    let addr = lab.server.as_ref().unwrap().addr();
    let mut slow: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for s in &mut slow {
        s.write_all(b"POST /add-checkpoint HTTP/1.1\r\nContent-Le")
            .unwrap();
    }
    assert_eq!(lab.status(log.request(0, 5)), 200);
    // Stopping does not wait for them for ever.
    let begun = std::time::Instant::now();
    lab.server.take().unwrap().stop();
    assert!(begun.elapsed() < Duration::from_secs(10));
    let mut rest = Vec::new();
    let _ = slow[0].read_to_end(&mut rest);
}
