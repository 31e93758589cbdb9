//! Serves a log's directory as it stands (C2SP tlog-tiles), its keys, its certificate, and proofs for manifests. It reads, and writes nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use atlas_manifests::digest::Sha256;
use atlas_manifests::given::{self, GivenError};
use atlas_manifests::log::find::Finder;
use atlas_manifests::log::reader::{Directory, LogError, LogReader, Source as _};
use atlas_manifests::log::tile::Resource;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use crate::serving::{Ends, FRESH, ServeError, Serving, TEXT, Told, aside};

/// Neither a list of keys nor a certificate is longer, in bytes.
const MAX_SMALL: u64 = 1 << 20;
/// Content-Type of tiles and bundles.
const BYTES: &str = "application/octet-stream";
/// Cache-Control of what never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A log's directory.
#[derive(Debug)]
struct Shown {
    dir: Directory,
    /// One proof is looked for at a time: leaves are read for it, and nobody is to keep all threads busy with that.
    one: Mutex<()>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A file of the log.
    File(Resource),
    /// The proof for a manifest.
    Proof(Sha256),
    /// Verifier keys.
    Keys,
    /// The log key's certificate.
    Certificate,
}

impl Asked {
    /// One spelling of each; anything else is nothing.
    fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        match path {
            "keys" => return Some(Self::Keys),
            "certificate.pem" => return Some(Self::Certificate),
            _ => {}
        }
        if let Some(hex) = path.strip_prefix("proof/") {
            let digest = Sha256::from_hex(hex).ok()?;
            return (digest.hex() == hex).then_some(Self::Proof(digest));
        }
        Resource::parse(path).ok().map(Self::File)
    }
}

/// Serves the log in a directory.
///
/// # Errors
/// When the address cannot be had.
pub fn serve_log(dir: Directory, listen: SocketAddr, ends: Ends) -> Result<Serving, ServeError> {
    let shown = Shown {
        dir,
        one: Mutex::new(()),
    };
    let app = Router::new().fallback(answer).with_state(Arc::new(shown));
    Serving::start(listen, app, ends)
}

async fn answer(State(shown): State<Arc<Shown>>, request: Request) -> Response {
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        return Told::text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n").response();
    }
    match Asked::parse(request.uri().path()) {
        Some(asked) => aside(move || shown.answer(&asked)).await,
        None => nothing().response(),
    }
}

fn nothing() -> Told {
    Told::text(StatusCode::NOT_FOUND, "nothing is here\n")
}

fn broken(why: &dyn std::fmt::Display) -> Told {
    // The client learns nothing of this machine's paths.
    tracing::error!("log: {why}");
    Told::text(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read\n")
}

impl Shown {
    fn answer(&self, asked: &Asked) -> Told {
        match asked {
            Asked::File(resource) => self.file(resource),
            Asked::Proof(manifest) => self.proof(manifest).unwrap_or_else(|e| broken(&e)),
            Asked::Keys => self.small("keys", TEXT),
            Asked::Certificate => self.small("certificate.pem", "application/x-pem-file"),
        }
    }

    fn file(&self, resource: &Resource) -> Told {
        let (kind, cache) = match resource {
            Resource::Checkpoint => (TEXT, FRESH),
            Resource::Tile { .. } | Resource::Entries { .. } => (BYTES, FOR_EVER),
        };
        match self.dir.get(resource) {
            Ok(Some(body)) => Told {
                status: StatusCode::OK,
                kind,
                cache,
                body,
            },
            Ok(None) => nothing(),
            Err(e) => broken(&e),
        }
    }

    fn small(&self, name: &str, kind: &'static str) -> Told {
        match given::read(&self.dir.file(name), MAX_SMALL) {
            Ok(body) => Told {
                status: StatusCode::OK,
                kind,
                cache: FRESH,
                body,
            },
            Err(GivenError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => nothing(),
            Err(e) => broken(&e),
        }
    }

    fn proof(&self, manifest: &Sha256) -> Result<Told, LogError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let log = match LogReader::open(self.dir.clone()) {
            Err(LogError::Empty(_)) => return Ok(nothing()),
            log => log?,
        };
        let Some(found) = Finder::new(&log).manifest(manifest)? else {
            return Ok(Told::text(StatusCode::NOT_FOUND, "it is not in this log\n"));
        };
        let mut proof = log.proof(found.index)?;
        // With its leaf nothing else is needed to check it.
        proof.extra = Some(found.leaf.encode());
        Ok(Told::text(StatusCode::OK, proof.encode()))
    }
}
