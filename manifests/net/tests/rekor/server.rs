//! A real Rekor on loopback, in a directory of its own, which ends with its value. Not installed here: `ATLAS_TEST_REKOR` or `target/tools/bin`
//! has its program, else the tests say that they are skipped.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use atlas_manifests::bytes::base64;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_net::http::Http;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// DER of an Ed25519 key in PKCS #8 up to its seed.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const NAME: &str = "rekor.test";
const SEED: [u8; 32] = [42; 32];

pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) dir: tempfile::TempDir,
}

/// The program; `None`, and a line that says so, where it is not installed.
pub(crate) fn program(test: &str) -> Option<PathBuf> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/rekor-posix");
    let path = std::env::var_os("ATLAS_TEST_REKOR").map_or(usual, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: {path:?} is no Rekor (ATLAS_TEST_REKOR)"
    );
    None
}

/// The key of all servers here: a second one is the first one with another history.
pub(crate) fn key() -> VerifierKey {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    VerifierKey::new(NAME, KeyKind::Ed25519, public).unwrap()
}

impl Server {
    pub(crate) fn start(program: &Path) -> Self {
        // Its ports are free when they are chosen, and may not be when it takes them.
        let tries = 0..5;
        let mut started = tries.map(|_| Self::try_start(program));
        started.find_map(|s| s).expect("Rekor does not start")
    }

    fn try_start(program: &Path) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let pem = dir.path().join("key.pem");
        let der = base64(&[&PKCS8[..], &SEED].concat());
        let text = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        std::fs::write(&pem, text).unwrap();
        let held = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, grpc] = held.map(|l| l.local_addr().unwrap().port());
        let child = Command::new(program)
            .args(["serve", "--signer-filepath"])
            .arg(&pem)
            .arg("--storage-dir")
            .arg(dir.path().join("log"))
            .args(["--hostname", NAME, "--http-metrics-port", "0"])
            .args(["--http-port", &http.to_string()])
            .args(["--grpc-port", &grpc.to_string()])
            .args(["--checkpoint-interval", "100ms", "--batch-max-age", "10ms"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{http}");
        let mut made = Self { child, url, dir };
        let client = Http::new(Duration::from_secs(1));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            let health = client.get(&format!("{}/healthz", made.url), 1000);
            if health.is_ok_and(|r| r.status == 200) {
                return Some(made);
            }
            if made.child.try_wait().unwrap().is_some() {
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// A file of its log, as somebody who serves the directory has it.
    pub(crate) fn file(&self, below: &str) -> Option<Vec<u8>> {
        std::fs::read(self.dir.path().join("log").join(below)).ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
