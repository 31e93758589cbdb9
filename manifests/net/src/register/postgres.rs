//! A register in a row of a table of PostgreSQL. Not a store of anything else.
//!
//! Of its `sslmode`s two are here: `verify-full`, and `disable`, which is the default for this machine's own addresses only. The others
//! encrypt without knowing to whom, or not at all when somebody in between says so.

mod session;

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use atlas_manifests::log::register::{Register, RegisterError, Swapped, check_length};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::http::{certificates, is_loopback};
use super::{Env, PATIENCE, Server, plain_key};
use session::Session;

/// A row of the table `atlas_register`.
pub struct Postgres {
    settings: Arc<Settings>,
    /// Of the thread that has the connection: callers may be in a runtime of their own, and must not wait for one another's turn forever.
    worker: Mutex<Option<Sender<Job>>>,
}

struct Settings {
    name: String,
    register: String,
    config: Config,
    /// Of a connection that must be encrypted.
    tls: Option<rustls::ClientConfig>,
}

/// What the row is asked.
enum Ask {
    Load,
    Swap(Option<Vec<u8>>, Vec<u8>),
    Remove,
}

enum Told {
    Value(Option<Vec<u8>>),
    Swapped(Swapped),
    Removed,
}

struct Job {
    ask: Ask,
    until: Instant,
    answer: SyncSender<Result<Told, RegisterError>>,
}

impl Postgres {
    /// `postgres://user@host:port/database?register=name`, besides which libpq's parameters of a connection are taken. Nobody is asked yet.
    ///
    /// # Errors
    /// `Unfit` when it is no such address, when it wants a mode of TLS that is not here, or when a file that it names cannot be read.
    pub fn new(address: &str, env: Env<'_>) -> Result<Self, RegisterError> {
        // The parser's own words may repeat a password.
        let none = || {
            super::unfit(
                "an address of its kind is postgres://user@host:port/database?register=name&sslmode=verify-full&sslrootcert=PEM",
            )
        };
        let (base, query) = address.split_once('?').unwrap_or((address, ""));
        let (mut register, mut mode, mut roots, mut others) = ("log", None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("register", name)) => register = plain_key(name)?,
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", path)) => roots = Some(path),
                _ => others.push(pair),
            }
        }
        let config = format!("{base}?{}", others.join("&"));
        let mut config: Config = config.parse().map_err(|_| none())?;
        let place = place(&config).ok_or_else(none)?;
        let database = config.get_dbname().unwrap_or_default();
        let name = format!("register postgres://{place}/{database} ({register})");
        let here = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(host) => is_loopback(host),
            Host::Unix(_) => true,
        });
        let tls = match mode {
            Some("disable") => None,
            None if here => None,
            None | Some("verify-full") => {
                let tls =
                    session::tls(&trusted(roots).map_err(|w| RegisterError::unfit(&name, w))?);
                Some(tls.map_err(|why| RegisterError::unfit(&name, why))?)
            }
            Some(_) => {
                let why = "of sslmode there are verify-full, with sslrootcert=PEM for an authority of your own, and disable: the others do \
                           not know whom they talk to";
                return Err(RegisterError::unfit(name, why));
            }
        };
        if config.get_password().is_none()
            && let Some(password) = env("PGPASSWORD")
        {
            config.password(password);
        }
        config
            .ssl_mode(match tls {
                Some(_) => SslMode::Require,
                None => SslMode::Disable,
            })
            // A standby's word is old.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(PATIENCE / 2)
            .tcp_user_timeout(PATIENCE)
            .application_name("atlas");
        Ok(Self::of(Settings {
            name,
            register: register.to_owned(),
            config,
            tls,
        }))
    }

    fn of(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            worker: Mutex::default(),
        }
    }

    /// Not reached: each question has its own answer.
    fn crossed(&self) -> RegisterError {
        RegisterError::unreachable(&self.settings.name, "it answered another question")
    }

    fn ask(&self, ask: Ask) -> Result<Told, RegisterError> {
        let unreachable = |why: &str| RegisterError::unreachable(&self.settings.name, why);
        let until = Instant::now() + PATIENCE;
        let (answer, told) = sync_channel(1);
        let job = Job { ask, until, answer };
        {
            let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = match worker.as_ref() {
                Some(worker) => worker.send(job).err().map(|e| e.0),
                None => Some(job),
            };
            if let Some(job) = refused {
                let (sender, jobs) = channel();
                let settings = Arc::clone(&self.settings);
                let started = thread::Builder::new()
                    .name("register".to_owned())
                    .spawn(move || work(&settings, &jobs));
                started.map_err(|e| unreachable(&e.to_string()))?;
                let _ = sender.send(job);
                *worker = Some(sender);
            }
        }
        // The worker keeps the time itself; this is for when it cannot.
        match told.recv_timeout(PATIENCE + Duration::from_secs(1)) {
            Ok(told) => told,
            Err(RecvTimeoutError::Timeout) => Err(unreachable(session::SILENT)),
            Err(RecvTimeoutError::Disconnected) => Err(unreachable("its thread ended")),
        }
    }
}

/// Does one job after another until nobody is left to give one.
fn work(settings: &Settings, jobs: &Receiver<Job>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    let mut session: Option<Session> = None;
    while let Ok(job) = jobs.recv() {
        let until = tokio::time::Instant::from_std(job.until);
        let done = runtime.block_on(async {
            tokio::time::timeout_at(until, session::answer(settings, &mut session, &job.ask)).await
        });
        let told = done.unwrap_or_else(|_| {
            // An answer that comes later would be taken for another question's.
            session = None;
            Err(RegisterError::unreachable(&settings.name, session::SILENT))
        });
        let _ = job.answer.send(told);
    }
}

/// Where the servers are, without a user.
fn place(config: &Config) -> Option<String> {
    let port = |at: usize| {
        let ports = config.get_ports();
        ports
            .get(at)
            .or_else(|| ports.first())
            .copied()
            .unwrap_or(5432)
    };
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| match host {
            Host::Tcp(host) => format!("{host}:{}", port(at)),
            Host::Unix(path) => format!("{}:{}", path.display(), port(at)),
        })
        .collect();
    (!hosts.is_empty()).then(|| hosts.join(","))
}

/// Whom to believe: the authorities in a file, or those of the web.
fn trusted(file: Option<&str>) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    let Some(path) = file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    if !Path::new(path).is_absolute() {
        return Err("sslrootcert is the whole path of a file".to_owned());
    }
    for certificate in certificates(path)? {
        let der = rustls::pki_types::CertificateDer::from(certificate.der().to_vec());
        roots.add(der).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(roots)
}

impl Register for Postgres {
    fn name(&self) -> String {
        self.settings.name.clone()
    }

    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
        match self.ask(Ask::Load)? {
            Told::Value(value) => Ok(value),
            Told::Swapped(_) | Told::Removed => Err(self.crossed()),
        }
    }

    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
        check_length(&self.settings.name, new)?;
        match self.ask(Ask::Swap(old.map(<[u8]>::to_vec), new.to_vec()))? {
            Told::Swapped(swapped) => Ok(swapped),
            Told::Value(_) | Told::Removed => Err(self.crossed()),
        }
    }
}

impl Server for Postgres {
    fn beside(&self, suffix: &str) -> Result<Self, RegisterError> {
        let settings = &self.settings;
        Ok(Self::of(Settings {
            name: format!("{}{suffix}", settings.name),
            register: format!("{}{suffix}", settings.register),
            config: settings.config.clone(),
            tls: settings.tls.clone(),
        }))
    }

    fn remove(&self) -> Result<(), RegisterError> {
        self.ask(Ask::Remove).map(drop)
    }
}
