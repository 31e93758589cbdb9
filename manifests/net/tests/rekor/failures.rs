//! A server that is down, slow, overloaded or lost its answer: no anchor, a word for it, and the right distance to the next try.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_manifests::log::anchor::{AnchorError, AnchorKey, shelf};
use atlas_net::rekor::{Anchorer, RekorError};

use crate::proxy::{Act, Proxy, Said, forward};
use crate::server::{Server, program};
use crate::{anchorer, ours, settings};

/// One try, and how long the next one has to wait. Nothing is kept of it.
fn fails(url: &str) -> (RekorError, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let mut a = anchorer(url, dir.path());
    let error = a.anchor_once(&ours(5)).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 600, "{text}");
    assert!(shelf::anchors(dir.path()).unwrap().is_empty());
    assert_eq!(a.failures(), 1);
    (error, a.wait(&ours(5), Instant::now()).unwrap())
}

fn says(said: Said) -> (RekorError, Duration) {
    let proxy = Proxy::start(move |_| Act::Say(said.clone()));
    fails(&proxy.url)
}

#[test]
fn a_server_that_is_down_is_tried_again_soon() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let (error, wait) = fails(&url);
    assert!(matches!(error, RekorError::Unreachable(_)), "{error}");
    assert!(error.retryable() && wait <= Duration::from_secs(2));
    let closes = Proxy::start(|_| Act::Close);
    let (error, _) = fails(&closes.url);
    assert!(error.retryable(), "{error}");
}

#[test]
fn a_server_that_hangs_is_left_after_the_time_that_was_set() {
    let proxy = Proxy::start(|_| Act::Hang);
    let dir = tempfile::tempdir().unwrap();
    let mut set = settings(&proxy.url);
    set.timeout = Duration::from_millis(300);
    let mut a = Anchorer::open(set, AnchorKey::generate().unwrap(), dir.path()).unwrap();
    let begun = Instant::now();
    let error = a.anchor_once(&ours(5)).unwrap_err();
    assert!(matches!(error, RekorError::Late(_)), "{error}");
    assert!(error.retryable() && begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_overloaded_server_is_left_alone_for_as_long_as_it_wants() {
    let mut said = Said::of(503, "");
    let (error, wait) = says(said.clone());
    assert!(matches!(
        error,
        RekorError::Busy {
            status: 503,
            after: None,
            ..
        }
    ));
    assert!(error.retryable() && wait <= Duration::from_secs(2));
    said.headers = vec![("Retry-After", "77".to_owned())];
    let (error, wait) = says(said);
    assert_eq!(error.after(), Some(Duration::from_secs(77)));
    assert!(wait > Duration::from_secs(70), "{wait:?}");
}

#[test]
fn what_no_repetition_mends_is_not_repeated_before_the_interval() {
    let mut elsewhere = Said::of(307, "");
    elsewhere.headers = vec![("Location", "http://127.0.0.1:1/".to_owned())];
    let bad = r#"{"code":3,"message":"invalid hashedrekord request"}"#;
    for said in [
        Said::of(400, bad),
        Said::of(404, "\n\x1b[31m".repeat(1000)),
        Said::of(501, ""),
        Said::of(200, "{}"),
        elsewhere,
        Said::of(201, "{}"),
        Said::of(201, "<html>"),
        Said::of(201, vec![b' '; 1 << 20]),
        Said::of(409, ""),
    ] {
        let status = said.status;
        let (error, wait) = says(said);
        assert!(!error.retryable(), "{error}");
        assert!(wait > Duration::from_secs(500));
        match (status, error) {
            (200 | 400 | 404 | 501, RekorError::Refused { .. })
            | (307, RekorError::Address(_))
            | (
                201,
                RekorError::Answer(AnchorError::Malformed { .. }) | RekorError::Unreadable(_),
            )
            | (409, RekorError::Duplicate { .. }) => {}
            (status, other) => panic!("{status}: {other:?}"),
        }
    }
}

/// The entry arrives and the answer is lost: the next try sends the same bytes, and the log knows them.
#[test]
fn an_answer_that_was_lost_makes_no_second_entry_where_tiles_are_served() {
    let Some(program) = program("rekor duplicate") else {
        return;
    };
    for tiles in [true, false] {
        let server = Arc::new(Server::start(&program));
        let proxy = Proxy::start({
            let url = server.url.clone();
            move |asked| {
                let _ = forward(&url, asked);
                Act::Close
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let mut a = anchorer(&proxy.url, dir.path());
        let error = a.anchor_once(&ours(5)).unwrap_err();
        assert!(error.retryable(), "{error}");
        proxy.set({
            let server = Arc::clone(&server);
            move |asked| {
                let below = asked.path.strip_prefix("/api/v2/");
                let file = below.filter(|_| tiles && asked.method == "GET");
                Act::Say(match file.map(|f| server.file(f)) {
                    Some(Some(bytes)) => Said::of(200, bytes),
                    Some(None) => Said::of(404, ""),
                    None => forward(&server.url, asked),
                })
            }
        });
        let anchor = a.anchor_once(&ours(5)).unwrap();
        assert_eq!(anchor.proof.index, u64::from(!tiles));
        assert_eq!(shelf::read(dir.path(), 5).unwrap(), Some(anchor));
        assert_eq!(a.failures(), 0);
    }
}
