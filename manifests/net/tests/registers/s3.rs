//! Registers on stores that speak S3.

use std::time::Duration;

use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};

use crate::cases::{self, Store};
use crate::servers::{self, Server, free_port};

const KEY: &str = "atlas-test";
const SECRET: &str = "right-secret";

#[derive(Clone, Copy)]
enum Kind {
    Versity,
    Minio,
}

fn started(kind: Kind) -> Option<(Server, Store)> {
    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    let dir = servers::dir();
    let data = dir.path().join("data");
    let server = match kind {
        Kind::Versity => {
            let places = ["target/tools/bin/versitygw", "/usr/local/bin/versitygw"];
            let program = servers::program("ATLAS_TEST_VERSITYGW", &places)?;
            let args = [
                "--port", &at, "--access", KEY, "--secret", SECRET, "posix", "data",
            ];
            Server::new(program, dir).args(&args)
        }
        Kind::Minio => {
            let places = ["target/tools/bin/minio", "/usr/local/bin/minio"];
            let program = servers::program("ATLAS_TEST_MINIO", &places)?;
            Server::new(program, dir)
                .args(&["server", "--quiet", "--address", &at, "data"])
                .env("MINIO_ROOT_USER", KEY)
                .env("MINIO_ROOT_PASSWORD", SECRET)
        }
    };
    std::fs::create_dir(&data).unwrap();
    servers::private(&data);
    let mut server = server.not_root().start();
    let url = format!("http://{at}").parse().unwrap();
    let bucket = Bucket::new(url, UrlStyle::Path, "logs", "us-east-1").unwrap();
    let credentials = Credentials::new(KEY, SECRET);
    let create = bucket
        .create_bucket(&credentials)
        .sign(Duration::from_secs(60));
    server.until(|| ureq::put(create.as_str()).send_empty());
    let store = Store {
        address: format!("s3://logs/KEY?endpoint=http://{at}"),
        env: vec![
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ],
    };
    Some((server, store))
}

#[test]
fn versitygw_swaps_what_it_holds_and_nothing_else() {
    let Some((server, store)) = started(Kind::Versity) else {
        return;
    };
    cases::all(&store);
    let left = std::fs::read_dir(server.dir.path().join("data/logs")).unwrap();
    let probes = left.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("probe")
    });
    assert_eq!(probes.count(), 0, "probes are removed");
}

#[test]
fn versitygw_keeps_what_it_told_to_be_stored_when_it_is_killed() {
    let Some((mut server, store)) = started(Kind::Versity) else {
        return;
    };
    cases::outlives_its_server(&store, &mut server);
}

#[test]
fn versitygw_that_is_frozen_keeps_nobody_waiting() {
    let Some((mut server, store)) = started(Kind::Versity) else {
        return;
    };
    cases::gives_up_on_a_frozen_server(&store, &mut server);
}

#[test]
fn versitygw_that_refuses_credentials_is_said_to_and_not_which() {
    let Some((_server, store)) = started(Kind::Versity) else {
        return;
    };
    refuses(store);
}

#[test]
fn minio_swaps_what_it_holds_and_nothing_else() {
    let Some((_server, store)) = started(Kind::Minio) else {
        return;
    };
    cases::all(&store);
}

#[test]
fn minio_keeps_what_it_told_to_be_stored_when_it_is_killed() {
    let Some((mut server, store)) = started(Kind::Minio) else {
        return;
    };
    cases::outlives_its_server(&store, &mut server);
}

#[test]
fn minio_that_refuses_credentials_is_said_to_and_not_which() {
    let Some((_server, store)) = started(Kind::Minio) else {
        return;
    };
    refuses(store);
}

fn refuses(mut store: Store) {
    store.env[1].1 = "wrong-secret".to_owned();
    let told = store.unfit("wrong-secret");
    assert!(told.contains("check AWS_ACCESS_KEY_ID"), "{told}");
    store.env[1].1 = SECRET.to_owned();
    let elsewhere = store.address.replace("s3://logs/", "s3://nowhere/");
    let right = std::mem::replace(&mut store.address, elsewhere);
    let told = store.unfit(SECRET);
    assert!(told.contains("NoSuchBucket"), "{told}");
    store.address = right;
    store.open("key").expect("the right password");
}
