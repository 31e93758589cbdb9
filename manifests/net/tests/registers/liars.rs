//! Stores that speak S3 and do not compare, or do not answer: what they would do to a log is told when they are opened.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::cases::{self, Store};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// As Garage and s3rver do.
    TakesAnyMatch,
    OverwritesWhatIsThere,
    /// As s3s-fs does.
    ComparesAndThenWrites,
    NoEtag,
    NotAStore,
    Garbage,
}

type Objects = Arc<Mutex<BTreeMap<String, (u64, Vec<u8>)>>>;

/// Serves until the test process ends.
fn serve(lie: Lie) -> Store {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let objects = Objects::default();
    thread::spawn(move || {
        for stream in socket.incoming() {
            let objects = Arc::clone(&objects);
            thread::spawn(move || answer(stream.unwrap(), lie, &objects));
        }
    });
    Store {
        address: format!("s3://logs/KEY?endpoint=http://{at}"),
        env: vec![
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "right-secret".to_owned()),
        ],
    }
}

fn answer(stream: TcpStream, lie: Lie, objects: &Objects) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let path = rest.split(['?', ' ']).next()?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).ok()?;
    let (status, etag, body) = act(method, path, &headers, body, lie, objects);
    let etag = match etag {
        Some(etag) if lie != Lie::NoEtag => format!("ETag: \"{etag}\"\r\n"),
        _ => String::new(),
    };
    let mut to = stream;
    if lie == Lie::Garbage {
        to.write_all(b"\0\xff not HTTP\r\n\r\n").ok()?;
        return Some(());
    }
    let head = format!(
        "HTTP/1.1 {status} X\r\n{etag}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    to.write_all(head.as_bytes()).ok()?;
    to.write_all(&body).ok()
}

fn act(
    method: &str,
    path: String,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
    lie: Lie,
    objects: &Objects,
) -> (u16, Option<u64>, Vec<u8>) {
    let mut all = objects.lock().unwrap();
    let held = all.get(&path).cloned();
    if lie == Lie::NotAStore {
        return (404, None, b"<html>nothing here</html>".to_vec());
    }
    match method {
        "GET" => match held {
            Some((etag, value)) => (200, Some(etag), value),
            None => (404, None, b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        },
        "DELETE" => {
            all.remove(&path);
            (204, None, Vec::new())
        }
        _ => {
            let wanted = headers.get("if-match");
            let etag = held.as_ref().map(|(etag, _)| format!("\"{etag}\""));
            let wrong = wanted.is_some() && wanted != etag.as_ref() && lie != Lie::TakesAnyMatch;
            let there = headers.contains_key("if-none-match") && held.is_some();
            if wrong || there && lie != Lie::OverwritesWhatIsThere {
                return (
                    412,
                    None,
                    b"<Error><Code>PreconditionFailed</Code></Error>".to_vec(),
                );
            }
            if lie == Lie::ComparesAndThenWrites {
                drop(all);
                thread::sleep(Duration::from_millis(2));
                all = objects.lock().unwrap();
            }
            let etag = held.map_or(1, |(etag, _)| etag + 1);
            all.insert(path, (etag, body));
            (200, Some(etag), Vec::new())
        }
    }
}

#[test]
fn a_store_that_compares_is_not_refused() {
    cases::all(&serve(Lie::None));
}

#[test]
fn a_store_that_does_not_compare_is_refused_with_what_it_did() {
    for (lie, why) in [
        (Lie::TakesAnyMatch, "a log on it would fork"),
        (
            Lie::OverwritesWhatIsThere,
            "the second of two conditional creates won",
        ),
        (Lie::ComparesAndThenWrites, "of 16 writers won one race"),
        (Lie::NoEtag, "no strong ETag"),
        (Lie::NotAStore, "check the bucket and the endpoint"),
    ] {
        let told = serve(lie).unfit("right-secret");
        assert!(told.contains(why), "{lie:?}: {told}");
    }
}

#[test]
fn what_is_not_http_is_an_error_without_the_signed_url() {
    let store = serve(Lie::Garbage);
    let told = store.connect("key").load().unwrap_err().to_string();
    for secret in ["right-secret", "Signature", "X-Amz"] {
        assert!(!told.contains(secret), "{told}");
    }
}
