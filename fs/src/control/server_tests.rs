//! A real socket, and peers that behave badly.

use std::io::{BufRead as _, BufReader};

use atlas_manifests::wire::Ask;

use super::*;
use crate::control::Client;

/// Answers `sync` with two lines, and everything else with `done`.
struct Twice;

impl Handler for Twice {
    fn answer(
        &self,
        peer: Peer,
        ask: Ask,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()> {
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        match ask {
            Ask::Sync { .. } => {
                say(Say::Synced { pending: 1 })?;
                say(Say::Synced { pending: 0 })
            }
            _ => say(Say::Done),
        }
    }
}

const LONG: Duration = Duration::from_secs(600);

fn served() -> (tempfile::TempDir, PathBuf, Server) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/s.sock");
    let server = serve(&path, Arc::new(Twice)).unwrap();
    (dir, path, server)
}

#[test]
fn a_connection_carries_many_requests_and_several_replies() {
    let (_dir, path, _server) = served();
    let mut client = Client::connect(&path, LONG).unwrap();
    let first = client.ask(Ask::Sync { wait_ms: 1 }).unwrap();
    assert!(matches!(first, Say::Synced { pending: 1 }));
    assert!(matches!(
        client.reply().unwrap(),
        Say::Synced { pending: 0 }
    ));
    assert!(matches!(client.ask(Ask::Runs).unwrap(), Say::Done));
}

#[test]
fn nonsense_is_answered_and_the_connection_goes_on() {
    let (_dir, path, _server) = served();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"{nonsense\n\xff\n{\"v\":1,\"op\":\"fly\"}\n{\"v\":1,\"op\":\"runs\"}\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        assert!(
            line.contains("\"re\":\"error\"") && line.contains("\"code\":2"),
            "{line}"
        );
    }
    assert!(lines.next().unwrap().unwrap().contains("done"));
}

#[test]
fn one_connection_too_many_is_told_so_and_the_others_stay() {
    let (_dir, path, _server) = served();
    let mut open: Vec<Client> = (0..MAX_CONNECTIONS)
        .map(|_| {
            let mut client = Client::connect(&path, LONG).unwrap();
            client.ask(Ask::Runs).unwrap();
            client
        })
        .collect();
    let mut late = Client::connect(&path, LONG).unwrap();
    assert!(matches!(late.reply().unwrap(), Say::Error { code: 1, .. }));
    assert!(matches!(open[0].ask(Ask::Runs).unwrap(), Say::Done));
}

#[test]
fn a_dead_socket_is_replaced_a_served_one_and_a_file_are_not() {
    let (_dir, path, mut server) = served();
    assert!(matches!(
        serve(&path, Arc::new(Twice)),
        Err(ServeError::Taken(_))
    ));
    server.stop();
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    let again = serve(&path, Arc::new(Twice)).unwrap();
    drop(again);
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        serve(&path, Arc::new(Twice)),
        Err(ServeError::NotOurs(_))
    ));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn stopping_closes_idle_connections() {
    let (_dir, path, mut server) = served();
    let mut client = Client::connect(&path, LONG).unwrap();
    client.ask(Ask::Runs).unwrap();
    server.stop();
    assert!(client.reply().is_err());
}

#[test]
fn many_users_together_do_not_shut_root_out() {
    let mut open = Vec::new();
    // As many as they get, from more users than there are places.
    for uid in (1_000_001..1_000_101).flat_map(|uid| std::iter::repeat_n(uid, 100)) {
        if refusal(uid, open.iter().copied()).is_none() {
            open.push(uid);
        }
    }
    assert_eq!(open.len(), MAX_OTHERS);
    assert!(open.iter().filter(|u| **u == 1_000_001).count() == MAX_PER_USER);
    while refusal(0, open.iter().copied()).is_none() {
        open.push(0);
    }
    assert_eq!(open.len(), MAX_CONNECTIONS);
}
