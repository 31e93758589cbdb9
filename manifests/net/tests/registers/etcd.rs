//! Registers on etcd.

use serde_json::{Value, json};

use crate::cases::{self, Store};
use crate::servers::{self, Server, free_port};

fn started() -> Option<(Server, Store, u16)> {
    let program = servers::program(
        "ATLAS_TEST_ETCD",
        &["target/tools/bin/etcd", "/usr/bin/etcd"],
    )?;
    let (port, peers) = (free_port(), free_port());
    let clients = format!("http://127.0.0.1:{port}");
    let peers = format!("http://127.0.0.1:{peers}");
    let server = Server::new(program, servers::dir()).args(&[
        "--data-dir=data",
        &format!("--listen-client-urls={clients}"),
        &format!("--advertise-client-urls={clients}"),
        &format!("--listen-peer-urls={peers}"),
        &format!("--initial-advertise-peer-urls={peers}"),
        &format!("--initial-cluster=default={peers}"),
    ]);
    let mut server = server.not_root().start();
    let store = Store {
        address: format!("etcd://127.0.0.1:{port}/atlas/KEY"),
        env: Vec::new(),
    };
    let any = store.connect("any");
    server.until(|| any.load());
    Some((server, store, port))
}

fn post(port: u16, what: &str, question: &Value) -> Value {
    let url = format!("http://127.0.0.1:{port}/v3/{what}");
    let sent = ureq::post(&url).send(question.to_string());
    let answer = sent.expect("it answers").body_mut().read_to_string();
    serde_json::from_str(&answer.expect("text")).expect("JSON")
}

#[test]
fn etcd_swaps_what_it_holds_and_nothing_else() {
    let Some((_server, store, port)) = started() else {
        return;
    };
    cases::all(&store);
    // "\0" to "\0": every key there is.
    let keys = post(
        port,
        "kv/range",
        &json!({ "key": "AA==", "range_end": "AA==", "keys_only": true }),
    );
    let count = keys.get("count").and_then(Value::as_str).expect("a number");
    assert_eq!(count, "6", "probes are removed: {keys}");
}

#[test]
fn etcd_keeps_what_it_told_to_be_stored_when_it_is_killed() {
    let Some((mut server, store, _)) = started() else {
        return;
    };
    cases::outlives_its_server(&store, &mut server);
}

#[test]
fn etcd_that_is_frozen_keeps_nobody_waiting() {
    let Some((mut server, store, _)) = started() else {
        return;
    };
    cases::gives_up_on_a_frozen_server(&store, &mut server);
}

#[test]
fn etcd_that_refuses_credentials_is_said_to_and_not_which() {
    let Some((_server, mut store, port)) = started() else {
        return;
    };
    post(
        port,
        "auth/user/add",
        &json!({ "name": "root", "password": "right-secret" }),
    );
    post(port, "auth/role/add", &json!({ "name": "root" }));
    post(
        port,
        "auth/user/grant",
        &json!({ "user": "root", "role": "root" }),
    );
    post(port, "auth/enable", &json!({}));
    let told = store.unfit("right-secret");
    assert!(told.contains("set ETCD_USERNAME"), "{told}");
    store.env = vec![
        ("ETCD_USERNAME", "root".to_owned()),
        ("ETCD_PASSWORD", "wrong-secret".to_owned()),
    ];
    let told = store.unfit("wrong-secret");
    assert!(told.contains("check ETCD_USERNAME"), "{told}");
    store.env[1].1 = "right-secret".to_owned();
    let register = store.open("key").expect("the right password");
    assert_eq!(register.load().unwrap(), None);
}
