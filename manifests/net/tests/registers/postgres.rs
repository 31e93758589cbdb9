//! Registers on PostgreSQL.

use std::path::{Path, PathBuf};

use crate::cases::{self, Store};
use crate::servers::{self, Server, free_port};

const SECRET: &str = "right-secret";

fn started(more: &[&str]) -> Option<(Server, Store)> {
    let places = ["target/tools/bin/postgresql", "/usr/lib/postgresql/15/bin"];
    let bin = servers::program("ATLAS_TEST_POSTGRES", &places)?;
    let dir = servers::dir();
    let data = dir.path().join("data");
    make(&bin, &data, dir.path());
    let port = free_port().to_string();
    let dir_name = dir.path().display().to_string();
    let mut args = vec![
        "-D",
        "data",
        "-p",
        &port,
        "-h",
        "127.0.0.1",
        "-k",
        &dir_name,
    ];
    args.extend(more);
    let server = Server::new(bin.join("postgres"), dir).args(&args);
    let mut server = server.not_root().start();
    let store = Store {
        address: format!("postgres://atlas@127.0.0.1:{port}/postgres?register=KEY"),
        env: vec![("PGPASSWORD", SECRET.to_owned())],
    };
    let any = store.connect("any");
    server.until(|| any.load());
    Some((server, store))
}

/// A new cluster, with a password, and a certificate of its own.
fn make(bin: &Path, data: &PathBuf, dir: &Path) {
    let password = dir.join("password");
    std::fs::write(&password, SECRET).unwrap();
    let mut initdb = servers::as_user(&bin.join("initdb"), servers::not_root());
    initdb.args([
        "--no-sync",
        "--auth=scram-sha-256",
        "--username=atlas",
        "--encoding=UTF8",
        "--locale=C",
    ]);
    initdb.arg("--pwfile").arg(&password).arg("-D").arg(data);
    let made = initdb.current_dir(dir).output().expect("initdb");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[test]
fn postgres_swaps_what_it_holds_and_nothing_else() {
    let Some((_server, store)) = started(&[]) else {
        return;
    };
    cases::all(&store);
}

#[test]
fn postgres_keeps_what_it_told_to_be_stored_when_it_is_killed() {
    // Its own default would be to say Done before anything is on a disk.
    let Some((mut server, store)) = started(&["-c", "synchronous_commit=off"]) else {
        return;
    };
    cases::outlives_its_server(&store, &mut server);
}

#[test]
fn postgres_that_is_frozen_keeps_nobody_waiting() {
    let Some((mut server, store)) = started(&[]) else {
        return;
    };
    cases::gives_up_on_a_frozen_server(&store, &mut server);
}

#[test]
fn postgres_that_serializes_by_default_still_has_one_winner() {
    let more = ["-c", "default_transaction_isolation=serializable"];
    let Some((_server, store)) = started(&more) else {
        return;
    };
    cases::all(&store);
}

#[test]
fn postgres_that_does_not_wait_for_its_disk_is_refused() {
    let Some((_server, store)) = unready(&["-c", "fsync=off"]) else {
        return;
    };
    let told = store.unfit(SECRET);
    assert!(told.contains("fsync off"), "{told}");
}

/// Ready, and refused for another reason.
fn unready(more: &[&str]) -> Option<(Server, Store)> {
    let (mut server, store) = started(&[])?;
    server.kill();
    server = server.more(more);
    server.restart();
    let any = store.connect("any");
    server.until(|| match any.load() {
        Err(e @ atlas_manifests::log::register::RegisterError::Unreachable { .. }) => Err(e),
        _ => Ok(()),
    });
    Some((server, store))
}

#[test]
fn postgres_that_refuses_credentials_is_said_to_and_not_which() {
    let Some((_server, mut store)) = started(&[]) else {
        return;
    };
    store.env = vec![("PGPASSWORD", "wrong-secret".to_owned())];
    let told = store.unfit("wrong-secret");
    assert!(told.contains("check the user and PGPASSWORD"), "{told}");
    store.env.clear();
    let told = store.unfit(SECRET);
    assert!(told.contains("PGPASSWORD"), "{told}");
    store.address = store.address.replace("atlas@", "atlas:wrong-secret@");
    store.unfit("wrong-secret");
    store.address = store.address.replace("wrong-secret", SECRET);
    store.open("key").expect("the right password");
}

#[test]
fn postgres_of_another_authority_is_not_believed() {
    let Some((mut server, mut store)) = started(&[]) else {
        return;
    };
    let of = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|&n| n.to_owned()).collect();
        rcgen::generate_simple_self_signed(names).unwrap()
    };
    let (right, other) = (
        of(&["localhost", "127.0.0.1"]),
        of(&["localhost", "127.0.0.1"]),
    );
    let file = |name: &str, text: &str| {
        let path = server.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        servers::private(&path);
        path.display().to_string()
    };
    let certificate = file("data/server.crt", &right.cert.pem());
    file("data/server.key", &right.signing_key.serialize_pem());
    let other = file("other.crt", &other.cert.pem());
    server.kill();
    server = server.more(&["-c", "ssl=on"]);
    server.restart();
    let plain = store.address.clone();
    let mut with = |roots: &str| {
        store.address = format!("{plain}&sslmode=verify-full{roots}");
        store.open("key").map(drop).map_err(|e| e.to_string())
    };
    server.until(|| with(&format!("&sslrootcert={certificate}")));
    for roots in ["", &format!("&sslrootcert={other}")] {
        let told = with(roots).unwrap_err();
        assert!(told.contains("certificate"), "{told}");
    }
}
