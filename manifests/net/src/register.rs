//! Registers by address: a file, or a key on a server that compares before it swaps. Not what is stored in them.

pub mod etcd;
mod http;
pub mod postgres;
pub mod s3;

use std::path::Path;
use std::time::Duration;

use atlas_manifests::log::register::posix::Posix;
use atlas_manifests::log::register::{PROBES, Register, RegisterError, self_test};
use ring::rand::SecureRandom as _;

/// No request takes longer: a server that is dead must not keep a log from saying so.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Looks up what is not said in an address, since addresses are printed and lie in files: credentials.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A register that can be had at another key too.
trait Server: Register + Sized + 'static {
    /// The same with connections of its own, at its key with this behind it.
    fn beside(&self, suffix: &str) -> Result<Self, RegisterError>;

    /// Removes what is stored.
    fn remove(&self) -> Result<(), RegisterError>;
}

/// Opens the register of this address, with credentials from the environment, after it proved that it compares and swaps. The proof is on
/// keys that begin with the register's own and end in `.probe-`, a random number, and their own; they are removed.
///
/// - `file:/path` or `/path`: of one process on a local filesystem.
/// - `etcd://host:port/key`, `etcds://` for TLS, `?cacert=PEM&cert=PEM&key=PEM`: `ETCD_USERNAME`, `ETCD_PASSWORD`.
/// - `postgres://user@host:port/database?register=name&sslmode=verify-full&sslrootcert=PEM`: `PGPASSWORD`, or in the address.
/// - `s3://bucket/key?endpoint=https://host&region=name`: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
///
/// # Errors
/// `Unfit` when the address is none, when credentials are refused, or when the store does not compare and swap; `Unreachable` when it does
/// not answer.
pub fn open(address: &str) -> Result<Box<dyn Register>, RegisterError> {
    open_with(address, &|name| std::env::var(name).ok())
}

/// The same with credentials from somewhere else.
///
/// # Errors
/// As `open`.
pub fn open_with(address: &str, env: Env<'_>) -> Result<Box<dyn Register>, RegisterError> {
    match kind(address)? {
        // It tries itself as it opens.
        Kind::File(path) => Ok(Box::new(Posix::open(Path::new(path))?)),
        Kind::Etcd => tried(etcd::Etcd::new(address, env)?),
        Kind::Postgres => tried(postgres::Postgres::new(address, env)?),
        Kind::S3 => tried(s3::S3::new(address, env)?),
    }
}

/// For who only loads: without the proof, which writes. A file is locked all the same.
///
/// # Errors
/// As `open`, as far as nobody has to be asked.
pub fn connect_with(address: &str, env: Env<'_>) -> Result<Box<dyn Register>, RegisterError> {
    Ok(match kind(address)? {
        Kind::File(path) => Box::new(Posix::open(Path::new(path))?),
        Kind::Etcd => Box::new(etcd::Etcd::new(address, env)?),
        Kind::Postgres => Box::new(postgres::Postgres::new(address, env)?),
        Kind::S3 => Box::new(s3::S3::new(address, env)?),
    })
}

enum Kind<'a> {
    File(&'a str),
    Etcd,
    Postgres,
    S3,
}

fn kind(address: &str) -> Result<Kind<'_>, RegisterError> {
    let (scheme, rest) = address.split_once(':').unwrap_or(("", ""));
    match scheme {
        _ if address.starts_with('/') => Ok(Kind::File(address)),
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(unfit("a file's address has its whole path: file:/path"));
            }
            Ok(Kind::File(path))
        }
        "etcd" | "etcds" => Ok(Kind::Etcd),
        "postgres" | "postgresql" => Ok(Kind::Postgres),
        "s3" => Ok(Kind::S3),
        // The address is not repeated: it may hold a password.
        _ => Err(unfit(
            "a register's address begins with file:, etcd://, etcds://, postgres:// or s3://",
        )),
    }
}

fn unfit(why: impl ToString) -> RegisterError {
    RegisterError::unfit("register", why)
}

fn tried<S: Server>(server: S) -> Result<Box<dyn Register>, RegisterError> {
    let mut nonce = [0; 8];
    ring::rand::SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| unfit("the system gives no random numbers"))?;
    let nonce = u64::from_be_bytes(nonce);
    let suffix = |probe: usize| format!(".probe-{nonce:016x}-{probe}");
    let told = self_test(&|probe| Ok(Box::new(server.beside(&suffix(probe))?)));
    // An unreachable server is asked no more: each probe would cost the same wait.
    if !matches!(told, Err(RegisterError::Unreachable { .. })) {
        for probe in 0..PROBES {
            let removed = server
                .beside(&suffix(probe))
                .and_then(|probe| probe.remove());
            if let Err(e) = removed {
                tracing::warn!("a probe is left behind, and may be removed by hand: {e}");
            }
        }
    }
    told.map(|()| Box::new(server) as Box<dyn Register>)
}

/// A key that needs no quoting anywhere: in a URL, in a signature, in a message.
fn plain_key(key: &str) -> Result<&str, RegisterError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let parts = || key.split('/').all(|p| !matches!(p, "" | "." | ".."));
    if key.len() > 512 || !key.chars().all(plain) || !parts() {
        return Err(unfit(
            "its key is 1 to 512 letters, digits, '.', '_', '-', and '/' between them",
        ));
    }
    Ok(key)
}

/// Of a server's own words what fits in a line.
fn one_line(words: &str) -> String {
    let line: String = words
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .take(200)
        .collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> String {
        let told = connect_with(address, &|_| None).err();
        let Some(RegisterError::Unfit { .. }) = &told else {
            panic!("{address}: {told:?}");
        };
        told.unwrap().to_string()
    }

    #[test]
    fn an_address_that_is_none_says_what_one_is_and_not_its_password() {
        for address in [
            "",
            "checkpoint",
            "file:checkpoint",
            "redis://:secret@host/0",
            "etcd://root:secret@host:2379/key",
            "etcd://host:2379",
            "etcd://host:2379/",
            "etcd://host:2379/a//b",
            "etcd://host:2379/a?secret=1",
            "etcd://host:2379/a?cacert=/nowhere/ca.pem",
            "postgres://u:secret@host:notaport/db",
            "postgres://u:secret@host/db?register=a%20b",
            "postgres://u:secret@host/db?sslmode=require",
            "postgres://u:secret@host/db?sslmode=prefer",
            "postgres://u:secret@host/db?sslmode=verify-ca",
            "postgres://u:secret@host/db?secret=1",
            "s3://bucket",
            "s3://bucket/",
            "s3://key:secret@bucket/key",
            "s3://bucket/key?secret=1",
        ] {
            let told = refused(address);
            assert!(!told.contains("secret"), "{address}: {told}");
            assert!(told.is_ascii() && !told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn a_register_without_credentials_says_which_ones() {
        let told = refused("s3://bucket/key");
        assert!(told.contains("AWS_ACCESS_KEY_ID"), "{told}");
    }

    #[test]
    fn a_name_is_without_secrets() {
        let name = |address: &str| {
            let env = |name: &str| Some(format!("{name}-secret"));
            connect_with(address, &env).unwrap().name()
        };
        assert_eq!(
            name("postgres://me:secret@127.0.0.1:5433/db?register=a"),
            "register postgres://127.0.0.1:5433/db (a)"
        );
        assert_eq!(
            name("s3://bucket/a/b?endpoint=http://127.0.0.1:9000"),
            "register s3://bucket/a/b at 127.0.0.1:9000"
        );
        assert_eq!(
            name("etcd://127.0.0.1:2379/a"),
            "register etcd://127.0.0.1:2379/a"
        );
    }
}
