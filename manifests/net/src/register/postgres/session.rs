//! One connection to PostgreSQL and the statements of a register on it. Not when it is asked, nor for how long.

use std::error::Error as _;
use std::sync::Arc;

use atlas_manifests::log::register::{RegisterError, Swapped};
use rustls::RootCertStore;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::one_line;
use super::{Ask, Settings, Told};

/// Why there is no answer in time.
pub(super) const SILENT: &str = "no answer within 10 s";

/// Whatever the server's defaults are: `off` and `local` would say Done for what a crash or a failover loses, and a serialization failure
/// is no answer to a comparison.
const SETTINGS: &str = "\
    SELECT set_config('synchronous_commit', 'on', false) \
      WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply'); \
    SET default_transaction_isolation = 'read committed'; \
    SET statement_timeout = 8000; SET lock_timeout = 8000";
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS atlas_register (name text PRIMARY KEY, value bytea NOT NULL)";

pub(super) struct Session {
    client: Client,
    load: Statement,
    create: Statement,
    swap: Statement,
}

/// Those parts of TLS that need rustls.
pub(super) fn tls(roots: &RootCertStore) -> Result<rustls::ClientConfig, String> {
    // Named, since a process with two of them has no default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(config
        .with_root_certificates(roots.clone())
        .with_no_client_auth())
}

/// Asks, on a new connection when there is none.
pub(super) async fn answer(
    settings: &Settings,
    session: &mut Option<Session>,
    ask: &Ask,
) -> Result<Told, RegisterError> {
    // Lets the connection see that the server went away since the last question.
    tokio::task::yield_now().await;
    if session.as_ref().is_some_and(|s| s.client.is_closed()) {
        *session = None;
    }
    let fresh = session.is_none();
    let told = attempt(settings, session, ask).await;
    let lost = told.is_err() && session.as_ref().is_some_and(|s| s.client.is_closed());
    if told.is_err() {
        *session = None;
    }
    // What is asked twice is still one answer; a swap may have been done.
    if lost && !fresh && matches!(ask, Ask::Load) {
        return attempt(settings, session, ask).await;
    }
    told
}

async fn attempt(
    settings: &Settings,
    session: &mut Option<Session>,
    ask: &Ask,
) -> Result<Told, RegisterError> {
    if session.is_none() {
        *session = Some(connect(settings).await?);
    }
    let Some(session) = session.as_ref() else {
        return Err(RegisterError::unreachable(&settings.name, "no connection"));
    };
    let name = &settings.register;
    let told = match ask {
        Ask::Load => {
            let row = session.client.query_opt(&session.load, &[name]).await;
            row.and_then(|row| row.map(|row| row.try_get(0)).transpose())
                .map(Told::Value)
        }
        Ask::Swap(None, new) => {
            let made = session.client.execute(&session.create, &[name, new]).await;
            made.map(swapped)
        }
        Ask::Swap(Some(old), new) => {
            let all: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [name, old, new];
            session
                .client
                .execute(&session.swap, &all)
                .await
                .map(swapped)
        }
        Ask::Remove => {
            let remove = "DELETE FROM atlas_register WHERE name = $1";
            let gone = session.client.execute(remove, &[name]).await;
            gone.map(|_| Told::Removed)
        }
    };
    told.map_err(|e| why(settings, &e))
}

fn swapped(rows: u64) -> Told {
    Told::Swapped(if rows == 1 {
        Swapped::Done
    } else {
        Swapped::Lost
    })
}

async fn connect(settings: &Settings) -> Result<Session, RegisterError> {
    let say = |e: tokio_postgres::Error| why(settings, &e);
    let client = match &settings.tls {
        Some(tls) => {
            let tls = MakeRustlsConnect::new(tls.clone());
            let (client, connection) = settings.config.connect(tls).await.map_err(say)?;
            tokio::spawn(connection);
            client
        }
        None => {
            let (client, connection) = settings.config.connect(NoTls).await.map_err(say)?;
            tokio::spawn(connection);
            client
        }
    };
    client.batch_execute(SETTINGS).await.map_err(say)?;
    let row = client
        .query_one(
            "SELECT current_setting('fsync'), pg_is_in_recovery(), to_regclass('atlas_register') IS NOT NULL",
            &[],
        )
        .await
        .map_err(say)?;
    let (fsync, standby, table): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let unfit = |why: &str| Err(RegisterError::unfit(&settings.name, why));
    if fsync != "on" {
        return unfit(
            "the server runs with fsync off, so what it stored may be gone after a crash: turn it on",
        );
    }
    if standby {
        return unfit("it is a standby, whose word is old: name the primary");
    }
    if !table {
        match client.batch_execute(TABLE).await {
            // Two that make it at once: one of them may fail on the catalogue's own indexes.
            Err(e) if e.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            Err(e) if e.code() == Some(&SqlState::DUPLICATE_TABLE) => {}
            made => made.map_err(say)?,
        }
    }
    let load = "SELECT value FROM atlas_register WHERE name = $1";
    let create = "INSERT INTO atlas_register (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let swap = "UPDATE atlas_register SET value = $3 WHERE name = $1 AND value = $2";
    Ok(Session {
        load: client.prepare(load).await.map_err(say)?,
        create: client.prepare(create).await.map_err(say)?,
        swap: client.prepare(swap).await.map_err(say)?,
        client,
    })
}

/// What went wrong: whether trying again helps, and in a line without the password.
fn why(settings: &Settings, e: &tokio_postgres::Error) -> RegisterError {
    if let Some(db) = e.as_db_error() {
        let code = db.code();
        let words = format!("{} ({})", one_line(db.message()), code.code());
        let hint = match code.code().get(..2).unwrap_or_default() {
            "28" => "check the user and PGPASSWORD",
            "3D" => "make the database, or name another",
            "42" => {
                "let this user make the table atlas_register, or make it: name text PRIMARY KEY, value bytea NOT NULL"
            }
            "25" => "name a server that may be written to",
            _ => return RegisterError::unreachable(&settings.name, words),
        };
        return RegisterError::unfit(&settings.name, format!("{words}: {hint}"));
    }
    let mut words = e.to_string();
    let mut source = e.source();
    let mut tls = false;
    while let Some(e) = source {
        let more = e.to_string();
        if !words.ends_with(&more) {
            words = format!("{words}: {more}");
        }
        let inner = e.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(std::io::Error::get_ref);
        let inner = inner.and_then(|e| e.downcast_ref::<rustls::Error>());
        tls |= e.is::<rustls::Error>() || inner.is_some();
        source = e.source();
    }
    let words = one_line(&words);
    let settled = ["invalid configuration", "authentication error"];
    if tls || settled.iter().any(|s| words.starts_with(s)) {
        return RegisterError::unfit(
            &settings.name,
            format!("{words}: check the address, its certificates and PGPASSWORD"),
        );
    }
    RegisterError::unreachable(&settings.name, words)
}
