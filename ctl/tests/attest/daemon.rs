//! As much of a daemon as `atlasctl attest` talks to. It seals nothing and mounts nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::{fs, thread};

use atlas_manifests::bytes::{PathBytes, base64};
use atlas_manifests::digest::{Sha256, unhex};
use atlas_manifests::evidence::{Evidence, Purpose};
use atlas_manifests::id::NodeId;
use atlas_manifests::layout::Layout;
use atlas_manifests::shelf::Shelf as _;
use atlas_manifests::store::{Item, Store};
use atlas_manifests::wire::{Ask, EvidenceStatus, Reply, Request, Say, Status, VERSION};

use crate::lab::{CONFIG, Home, INSTANCE, collateral, evidence};

/// What it has: the first evidence and the newest anchor, or why there is none.
pub(crate) type Has = Result<(Evidence, Evidence), &'static str>;

/// Answers for the home's backing directory until the test ends.
pub(crate) fn start(home: &Home, has: Has) {
    let dir = home.path("run/atlas");
    fs::create_dir_all(&dir).unwrap();
    let socket = dir.join("s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let source = home.path("source").canonicalize().unwrap();
    let path = |p: std::path::PathBuf| PathBytes::from(p.as_path());
    let known = has.as_ref().ok();
    let status = Status {
        version: "0".to_owned(),
        pid: 1,
        source: path(source.clone()),
        mountpoint: path(home.path("mnt")),
        state: path(source.join(".atlas")),
        node_state: path(source.join(".atlas")),
        socket: path(socket),
        node: NodeId([1; 16]),
        instance: INSTANCE,
        io: "inline".to_owned(),
        io_reason: String::new(),
        read_only: false,
        hardware: if known.is_some() { "simulated" } else { "none" }.to_owned(),
        log: None,
        evidence: known.map(|(first, last)| EvidenceStatus {
            first: first.id(),
            last: last.id(),
            anchors: 1,
            config: CONFIG.to_owned(),
        }),
        authority: Sha256([0; 32]),
        mounted_at: "2026-11-26T12:00:00Z".to_owned(),
        open: 0,
        pending: 0,
        sealed: 0,
        behind: 0,
        warnings: has
            .as_ref()
            .err()
            .map(|w| (*w).to_owned())
            .into_iter()
            .collect(),
    };
    let layout = Layout::open(&source.join(".atlas"), None).unwrap();
    let store = Store::open(&layout);
    let shared = Arc::new((store, status, has.ok()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || serve(&stream.unwrap(), &shared));
        }
    });
}

fn serve(mut stream: &UnixStream, shared: &(Store, Status, Option<(Evidence, Evidence)>)) {
    let (store, status, has) = shared;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let request: Request = serde_json::from_str(&line).unwrap();
        let say = match request.ask {
            Ask::Status => Say::Status(Box::new(status.clone())),
            Ask::Object { kind, name } => Say::Bytes {
                b64: store.object(kind, &name).unwrap().map(|b| base64(&b)),
            },
            Ask::Attest { nonce } => {
                let (nonce, (_, last)) = (unhex(&nonce).unwrap(), has.as_ref().unwrap());
                let json = collateral(0);
                let made = evidence(Purpose::Answer, Some(last), Some(&nonce), Some(&json));
                store.put(&Item::collateral(json.into_bytes())).unwrap();
                Say::Bytes {
                    b64: Some(base64(&made.encode())),
                }
            }
            other => panic!("{other:?}"),
        };
        let mut reply = serde_json::to_vec(&Reply { v: VERSION, say }).unwrap();
        reply.push(b'\n');
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}
