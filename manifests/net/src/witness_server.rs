//! A witness over HTTP (C2SP tlog-witness): `POST /add-checkpoint`, `GET /<origin hash>/checkpoint`, and nothing else. What it cosigns is decided
//! in `cosigner`.

use std::net::SocketAddr;
use std::sync::Arc;

use atlas_manifests::digest::Sha256;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use crate::cosigner::{Cosigner, Verdict};
use crate::request::MAX_BODY;
use crate::serving::{Ends, ServeError, Serving, TEXT, Told, aside};
use crate::witness::now;

/// A body that is too long is read this far, so that its sender comes to read the answer.
const MAX_READ: usize = 1 << 20;

/// Runs it.
///
/// # Errors
/// When the address cannot be had.
pub fn serve(cosigner: Cosigner, listen: SocketAddr, ends: Ends) -> Result<Serving, ServeError> {
    let app = Router::new()
        .fallback(answer)
        .with_state(Arc::new(cosigner));
    Serving::start(listen, app, ends)
}

async fn answer(State(cosigner): State<Arc<Cosigner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path == "/add-checkpoint" {
        if parts.method != Method::POST {
            return Told::text(StatusCode::METHOD_NOT_ALLOWED, "ask with POST\n").response();
        }
        return match to_bytes(body, MAX_READ).await {
            Ok(body) if body.len() <= MAX_BODY => aside(move || add(&cosigner, &body)).await,
            _ => Told::text(StatusCode::PAYLOAD_TOO_LARGE, "too long\n").response(),
        };
    }
    let origin = path
        .strip_prefix('/')
        .and_then(|p| p.strip_suffix("/checkpoint"))
        .filter(|h| h.len() == 64)
        .and_then(|h| Sha256::from_hex(h).ok().filter(|d| d.hex() == h));
    let Some(origin) = origin else {
        return Told::text(StatusCode::NOT_FOUND, "nothing is here\n").response();
    };
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Told::text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n").response();
    }
    aside(move || head(&cosigner, &origin)).await
}

fn add(cosigner: &Cosigner, body: &[u8]) -> Told {
    let refused = |status, why: &str| Told::text(status, format!("{why}\n"));
    match cosigner.add(body, now()) {
        Verdict::Cosigned(line) => Told::text(StatusCode::OK, line.to_string()),
        Verdict::Malformed => refused(StatusCode::BAD_REQUEST, "this is no add-checkpoint request"),
        Verdict::UnknownLog => refused(StatusCode::NOT_FOUND, "this log is not known here"),
        Verdict::Unsigned => refused(
            StatusCode::FORBIDDEN,
            "no key that is known for this log signed it",
        ),
        Verdict::Remembers(size) => Told {
            kind: "text/x.tlog.size",
            ..Told::text(StatusCode::CONFLICT, format!("{size}\n"))
        },
        Verdict::Inconsistent => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this does not extend what was cosigned before",
        ),
        Verdict::Failed(why) => {
            // The client learns nothing of this machine's disk.
            tracing::error!("witness: {why}");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be remembered")
        }
    }
}

fn head(cosigner: &Cosigner, origin: &Sha256) -> Told {
    match cosigner.head(origin) {
        Ok(Some(head)) => Told {
            kind: TEXT,
            cache: "max-age=5",
            status: StatusCode::OK,
            body: head.encode(),
        },
        Ok(None) => Told::text(StatusCode::NOT_FOUND, "nothing was cosigned\n"),
        Err(e) => {
            tracing::error!("witness: {e}");
            Told::text(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read\n")
        }
    }
}
