//! Requests to a register's server, each bounded in time and size, and what its answers mean. Not what is asked.

use std::sync::Arc;

use atlas_manifests::log::register::RegisterError;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use url::Url;

use super::{PATIENCE, one_line, unfit};

/// More than any answer with the longest value is, in base64 and JSON.
const MOST: u64 = 256 << 10;

/// A server and the connections to it.
#[derive(Debug, Clone)]
pub(super) struct Http {
    agent: Agent,
    /// Of the register, for messages.
    pub(super) name: String,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Files with certificates, as an address names them.
#[derive(Debug, Default)]
pub(super) struct Pem<'a> {
    pub(super) roots: Option<&'a str>,
    pub(super) certificate: Option<&'a str>,
    pub(super) key: Option<&'a str>,
}

impl Http {
    pub(super) fn new(name: String, url: &Url, pem: &Pem<'_>) -> Result<Self, RegisterError> {
        let tls = tls(pem).map_err(|why| RegisterError::unfit(&name, why))?;
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE / 2))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(32)
            .tls_config(tls);
        // A proxy sees another machine under this name.
        let config = if is_loopback(url.host_str().unwrap_or_default()) {
            config.proxy(None)
        } else {
            config
        };
        Ok(Self {
            agent: config.build().new_agent(),
            name,
        })
    }

    /// The same server on connections of its own.
    pub(super) fn again(&self, name: String) -> Self {
        Self {
            agent: self.agent.config().new_agent(),
            name,
        }
    }

    /// Sends a request. `url` may be signed: it is in no message.
    pub(super) fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, RegisterError> {
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if body.is_empty() && method != "PUT" {
            let request = request.body(()).map_err(|_| self.no_request())?;
            self.agent.run(request)
        } else {
            let request = request.body(body).map_err(|_| self.no_request())?;
            self.agent.run(request)
        };
        let mut answer = sent.map_err(|e| self.failed(&e))?;
        let etag = answer.headers().get("etag");
        let etag = etag.and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = answer.body_mut().with_config().limit(MOST).read_to_vec();
        Ok(Answer {
            status: answer.status().as_u16(),
            etag,
            body: body.map_err(|e| self.failed(&e))?,
        })
    }

    fn no_request(&self) -> RegisterError {
        self.unfit("its address or credentials hold what HTTP cannot carry")
    }

    /// Why there is no answer, without the URL.
    fn failed(&self, e: &ureq::Error) -> RegisterError {
        match e {
            ureq::Error::Timeout(_) => {
                self.unreachable(format!("no answer within {} s", PATIENCE.as_secs()))
            }
            ureq::Error::Io(io) => match rustls_of(io) {
                Some(e) => self.untrusted(e),
                None => self.unreachable(io),
            },
            ureq::Error::Rustls(e) => self.untrusted(e),
            ureq::Error::HostNotFound => self.unreachable("no host of this name"),
            ureq::Error::BodyExceedsLimit(_) => self.unfit("its answer is longer than any value"),
            ureq::Error::Protocol(e) => self.unreachable(format!("not HTTP: {e}")),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => self.no_request(),
            _ => self.unreachable("the connection failed"),
        }
    }

    fn untrusted(&self, e: &rustls::Error) -> RegisterError {
        self.unfit(format!("TLS: {e}"))
    }

    pub(super) fn unfit(&self, why: impl ToString) -> RegisterError {
        RegisterError::unfit(&self.name, why)
    }

    pub(super) fn unreachable(&self, why: impl ToString) -> RegisterError {
        RegisterError::unreachable(&self.name, why)
    }
}

/// A failed handshake comes as an error of the socket.
fn rustls_of(e: &std::io::Error) -> Option<&rustls::Error> {
    e.get_ref()?.downcast_ref()
}

impl Answer {
    /// Its status and its words, for a message.
    pub(super) fn words(&self, words: &str) -> String {
        let words = one_line(words);
        format!("status {} {words}", self.status).trim().to_owned()
    }
}

/// Only this machine answers to it.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn tls(pem: &Pem<'_>) -> Result<TlsConfig, String> {
    // Named, since a process with two of them has no default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if let Some(path) = pem.roots {
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
    }
    match (pem.certificate, pem.key) {
        (None, None) => {}
        (Some(certificate), Some(key)) => {
            let bytes = std::fs::read(key).map_err(|e| format!("{key}: {e}"))?;
            let private = PrivateKey::from_pem(&bytes)
                .map_err(|_| format!("{key}: no private key in PEM is in it"))?;
            let chain = certificates(certificate)?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, private)));
        }
        _ => return Err("a client's certificate and its key go together".to_owned()),
    }
    Ok(tls.build())
}

/// The certificates in a file.
pub(super) fn certificates(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let found: Vec<_> = ureq::tls::parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(format!("{path}: no certificate in PEM is in it"));
    }
    Ok(found)
}

/// Parameters of an address, in its order.
pub(super) type Given<'a> = Vec<(&'a str, String)>;

/// The parts of a register's URL: it has a host, a plain key, these parameters and no password.
pub(super) fn parse<'a>(
    address: &str,
    form: &str,
    may: &[&'a str],
) -> Result<(Url, String, Given<'a>), RegisterError> {
    let none = || unfit(format!("an address of its kind is {form}"));
    let url = Url::parse(address).map_err(|_| none())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unfit(
            "credentials are not in its address: they come from the environment",
        ));
    }
    if url.host_str().is_none_or(str::is_empty) || url.fragment().is_some() {
        return Err(none());
    }
    let key = super::plain_key(url.path().strip_prefix('/').unwrap_or_default())?.to_owned();
    let mut given = Vec::new();
    for (name, value) in url.query_pairs() {
        let known = may.iter().find(|m| **m == name).ok_or_else(none)?;
        given.push((*known, value.into_owned()));
    }
    Ok((url, key, given))
}

/// The last value of a parameter.
pub(super) fn given<'a>(all: &'a [(&str, String)], name: &str) -> Option<&'a str> {
    let last = all.iter().rev().find(|(n, _)| *n == name);
    last.map(|(_, value)| value.as_str())
}
