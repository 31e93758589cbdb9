//! Our witness and a real Rekor, which asks for cosignatures of its own accord. Skipped where no Rekor is: ATLAS_TEST_REKOR names its program.

mod lab;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use atlas_manifests::bytes::base64;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::cosignature::{Witnessed, witnessed};
use atlas_manifests::log::note::{KeyKind, Signed};
use atlas_net::cosigner::Cosigner;
use atlas_net::http::Http;
use atlas_net::serving::Ends;
use atlas_net::witness::Witness;
use atlas_net::witness_server::serve;

const ORIGIN: &str = "rekor.test/atlas";
/// A signature by a key that was made for this test alone.
const ENTRY: &str = r#"{"hashedRekordRequestV002": {"digest": "GoaYF2xSw0y4gKrJnqySC8u9pSRtHQENo9OHvItYBeA=", "signature": {"content": "MEUCIQDnHB00kaXExhV4M9qjSHO4fhqslJUZVWIu942downsCAIgSE39zGBbVa7zyaVJ8fADs3bWg3eZ7tkzd0FkcLdQieo=", "verifier": {"publicKey": {"rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEdoKzDF+/mIgb/1cBFzTpIt+nDmYR9xX+fHJq5Oc4KSJ3v0WRzg/kSdjpt8N3B9D+qiW+BJGbvUJGLd1kV0kavg=="}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}}}"#;

/// Killed also when the test fails.
struct Rekor(Child);

impl Drop for Rekor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/rekor-posix");
    let named = std::env::var_os("ATLAS_TEST_REKOR").map(PathBuf::from);
    named.or_else(|| built.exists().then_some(built))
}

fn port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_real_rekor_is_cosigned_as_it_grows() {
    let Some(program) = program() else {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED rekor witness: ATLAS_TEST_REKOR names no rekor-posix"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // PKCS #8 of an Ed25519 key (RFC 8410).
    let der = [
        &b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..],
        &[1; 32],
    ]
    .concat();
    let pem = base64(&der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    fs::write(path("log.pem"), pem).unwrap();
    let log = lab::key(ORIGIN, KeyKind::Ed25519, 1).0;

    let state = path("witness");
    let cosigner = Cosigner::open(&state, Some("w.example/1"), std::slice::from_ref(&log)).unwrap();
    let key = cosigner.key().clone();
    let server = serve(cosigner, "127.0.0.1:0".parse().unwrap(), Ends::WithOwner).unwrap();
    let url = format!("http://{}", server.addr());
    let policy = format!("witness w1 {key} {url}\nquorum w1\n");
    fs::write(path("policy"), policy).unwrap();

    let (http_port, grpc_port) = (port(), port());
    let mut command = Command::new(program);
    command
        .args(["serve", "--hostname", ORIGIN, "--http-metrics-port", "0"])
        .args(["--checkpoint-interval", "100ms", "--batch-max-age", "10ms"])
        .arg("--signer-filepath")
        .arg(path("log.pem"))
        .arg("--storage-dir")
        .arg(path("rekor"))
        .arg("--witness-policy-path")
        .arg(path("policy"))
        .args(["--http-port", &http_port.to_string()])
        .args(["--grpc-port", &grpc_port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("rekor.log")).unwrap());
    let mut rekor = Rekor(command.spawn().unwrap());

    let http = Http::new(Duration::from_secs(20));
    let told = || fs::read_to_string(path("rekor.log")).unwrap_or_default();
    let base = format!("http://127.0.0.1:{http_port}");
    until("Rekor is ready", || {
        assert!(rekor.0.try_wait().unwrap().is_none(), "{}", told());
        let reply = http.get(&format!("{base}/healthz"), 1 << 16).ok()?;
        (reply.status == 200).then_some(())
    });
    let published = || Checkpoint::parse(&fs::read(path("rekor/checkpoint")).ok()?).ok();
    let cosigned = |size: u64| {
        until("a cosigned checkpoint", || {
            let found = published().filter(|c| c.head.head.size == size)?;
            assert_eq!(found.signed_by_log(&log), Signed::Yes);
            matches!(witnessed(&found, &key), Witnessed::At(_)).then_some(found)
        })
    };
    let empty = cosigned(0);
    assert_eq!(empty.head.origin, ORIGIN);

    let entries = format!("{base}/api/v2/log/entries");
    let reply = http
        .post(&entries, "application/json", ENTRY.as_bytes(), 1 << 20)
        .unwrap();
    let body = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, 201, "{body}\n{}", told());
    let grown = cosigned(1);

    let witness = Witness {
        name: "w1".to_owned(),
        key: key.clone(),
        url,
    };
    let head = witness.head(&http, ORIGIN, &log).unwrap().unwrap();
    assert_eq!(head.head, grown.head);
    drop(rekor);
    server.stop();
    // What it remembers of a log that is not ours outlives it.
    let again = Cosigner::open(&state, None, std::slice::from_ref(&log)).unwrap();
    let origin = atlas_manifests::digest::Sha256::of(ORIGIN.as_bytes());
    assert_eq!(again.head(&origin).unwrap().unwrap().head, grown.head);
}
