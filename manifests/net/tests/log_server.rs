//! A log that is served, and read by others over HTTP: what there is, what there is not, and what a server may get wrong. Not the verbs.

mod lab;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;

use atlas_manifests::log::proof::Proof;
use atlas_manifests::log::reader::{Directory, LogReader, Source as _};
use atlas_manifests::log::tile::Resource;
use atlas_manifests::merkle::{is_consistent, leaf_hash};
use atlas_net::http::{Reply, join};
use atlas_net::remote::Remote;
use atlas_net::server::serve_log;
use atlas_net::serving::{Ends, Serving};
use lab::{Liar, Log, ORIGIN, answer, http};

struct Lab {
    dir: tempfile::TempDir,
    server: Serving,
    url: String,
    log: Log,
}

fn lab(size: u64) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(ORIGIN, 1);
    log.write(&dir.path().join("log"), size);
    let addr = "127.0.0.1:0".parse().unwrap();
    let server = serve_log(
        Directory::new(dir.path().join("log")),
        addr,
        Ends::WithOwner,
    )
    .unwrap();
    Lab {
        url: format!("http://{}", server.addr()),
        dir,
        server,
        log,
    }
}

impl Lab {
    fn get(&self, path: &str) -> Reply {
        http().get(&join(&self.url, path), 1 << 24).unwrap()
    }

    /// What goes over the wire, without a client that tidies it up.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.server.addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    }

    fn remote(&self) -> Remote {
        Remote::new(http(), &self.url)
    }
}

#[test]
fn a_log_is_read_over_http_as_it_is_on_disk() {
    let lab = lab(700);
    let log = LogReader::open(lab.remote()).unwrap();
    assert_eq!(log.head(), lab.log.head(700));
    for index in [0, 255, 256, 511, 512, 699] {
        assert_eq!(log.leaf(index).unwrap(), lab.log.leaf(index));
        let proof = log.proof(index).unwrap();
        assert!(proof.holds(&leaf_hash(&lab.log.leaf(index))));
    }
    let (old, new) = (lab.log.head(300), lab.log.head(700));
    assert!(is_consistent(
        &old,
        &new,
        &log.consistency(300, 700).unwrap()
    ));

    let checkpoint = lab.get("checkpoint");
    assert_eq!(
        checkpoint.content_type.as_deref(),
        Some("text/plain; charset=utf-8")
    );
    let tile = lab.get("tile/0/000");
    assert_eq!((tile.status, tile.body.len()), (200, 8192));
    assert_eq!(
        tile.content_type.as_deref(),
        Some("application/octet-stream")
    );
    let head = |path: &str| {
        lab.raw(&format!(
            "HEAD /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
    };
    assert!(head("tile/0/000").contains("immutable"));
    assert!(head("checkpoint").contains("no-cache"));
    assert!(head("tile/0/000").ends_with("\r\n\r\n"), "no body");
    let keys = lab.remote().keys().unwrap().unwrap();
    assert_eq!(keys, format!("{}\n", lab.log.key).into_bytes());
    assert_eq!(lab.remote().certificate().unwrap(), None);
}

#[test]
fn a_partial_tile_is_served_after_the_full_one_took_its_place() {
    let lab = lab(300);
    assert_eq!(lab.get("tile/0/001.p/44").body.len(), 44 * 32);
    assert_eq!(lab.get("tile/1/000.p/1").body.len(), 32);
    assert_eq!(lab.get("tile/entries/001.p/44").status, 200);
    for not_there in [
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002",
        "tile/2/000.p/1",
    ] {
        assert_eq!(lab.get(not_there).status, 404, "{not_there}");
    }
    let before = LogReader::open(lab.remote()).unwrap();
    let dir = lab.dir.path().join("log");
    lab.log.write(&dir, 600);
    fs::remove_dir_all(dir.join("tile/0/001.p")).unwrap();
    fs::remove_dir_all(dir.join("tile/entries/001.p")).unwrap();
    let partial = lab.get("tile/0/001.p/44");
    assert_eq!((partial.status, partial.body.len()), (200, 44 * 32));
    // Whoever holds the old checkpoint still reads the old tree.
    assert_eq!(before.leaf(299).unwrap(), lab.log.leaf(299));
    // A server that keeps full ones only is read too.
    let full = fs::read(dir.join("tile/entries/001")).unwrap();
    let old = Liar::new(move |_, first, _| match first.contains(".p/") {
        true => answer("404 Not Found", "", b""),
        false => answer("200 OK", "", &full),
    });
    let wanted = Resource::Entries {
        index: 1,
        width: 44,
    };
    let cut = Remote::new(http(), &old.url).get(&wanted).unwrap();
    assert_eq!(cut, Some(lab.get("tile/entries/001.p/44").body));
}

#[test]
fn nothing_but_the_log_is_served() {
    let lab = lab(5);
    fs::write(lab.dir.path().join("secret"), "secret").unwrap();
    let dir = lab.dir.path().join("log");
    for name in ["register", "wal", "tile/0/secret"] {
        fs::write(dir.join(name), "secret").unwrap();
    }
    for path in [
        "",
        "/",
        "/../secret",
        "/tile/../../secret",
        "/%2e%2e/secret",
        "/tile/0/%2e%2e/%2e%2e/%2e%2e/secret",
        "//checkpoint",
        "/checkpoint/",
        "/./checkpoint",
        "/register",
        "/wal",
        "/keys/",
        "/tile",
        "/tile/0/secret",
        "/tile/00/000",
        "/tile/8/000",
        "/tile/0/0",
        "/tile/0/x000/000",
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/0/000.p/05",
        "/tile/entries/../../keys",
        "/tile/entries/999999999999999999999999",
        "/proof/",
        "/proof/00",
        &format!("/proof/{}", "A".repeat(64)),
        &format!("/proof/{}", "0".repeat(64)),
        "\\..\\secret",
    ] {
        let all = lab.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        let status = all.split(' ').nth(1).unwrap_or_default();
        assert!(["404", "400"].contains(&status), "{path}: {all}");
        assert!(!all.contains("secret"), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let all = lab.raw(&format!(
            "{method} /checkpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ));
        assert!(all.starts_with("HTTP/1.1 405"), "{all}");
    }
    // A file that is none keeps nobody waiting, and an unreadable one tells no paths.
    fs::remove_file(dir.join("keys")).unwrap();
    symlink("/dev/zero", dir.join("keys")).unwrap();
    let keys = lab.get("keys");
    assert_eq!(keys.status, 500);
    assert!(!String::from_utf8_lossy(&keys.body).contains('/'));
    fs::remove_file(dir.join("checkpoint")).unwrap();
    assert_eq!(lab.get("checkpoint").status, 404);
    assert_eq!(lab.get(&format!("proof/{}", "0".repeat(64))).status, 404);
}

#[test]
fn a_proof_that_is_served_holds_and_brings_its_leaf() {
    let lab = lab(600);
    for index in [1, 300, 599] {
        let manifest = lab.log.manifest(index);
        let bytes = lab.remote().proof(&manifest).unwrap().unwrap();
        let proof = Proof::parse(&bytes).unwrap();
        assert_eq!(proof.index, index);
        assert_eq!(proof.extra, Some(lab.log.leaf(index)));
        assert!(proof.holds(&leaf_hash(&lab.log.leaf(index))));
    }
    let elsewhere = Log::forked(1, 0).manifest(5);
    assert_eq!(lab.remote().proof(&elsewhere).unwrap(), None);
}

#[test]
fn what_a_server_garbles_is_an_error_and_never_a_leaf() {
    let lab = lab(600);
    let dir = lab.dir.path().join("log");
    let good = fs::read(dir.join("tile/entries/000")).unwrap();
    for lie in [vec![], good[..100].to_vec(), {
        let mut bad = good.clone();
        bad[50] ^= 1;
        bad
    }] {
        fs::write(dir.join("tile/entries/000"), &lie).unwrap();
        let log = LogReader::open(lab.remote()).unwrap();
        assert!(log.leaf(3).is_err());
    }
    let huge = Liar::new(|_, _, _| answer("200 OK", "", &vec![b'a'; 1 << 20]));
    assert!(LogReader::open(Remote::new(http(), &huge.url)).is_err());
    let mute = Liar::new(|_, _, _| Vec::new());
    assert!(LogReader::open(Remote::new(http(), &mute.url)).is_err());
    let moved = Liar::new(|_, _, _| answer("302 Found", "Location: http://127.0.0.1:1/\r\n", b""));
    let error = Remote::new(http(), &moved.url)
        .get(&Resource::Checkpoint)
        .unwrap_err();
    assert!(error.to_string().contains("redirects to"), "{error}");
    assert!(
        Remote::new(http(), "file:///etc")
            .get(&Resource::Checkpoint)
            .is_err()
    );
}
