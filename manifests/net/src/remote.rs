//! A log that somebody else serves (C2SP tlog-tiles): its files over HTTP. What comes is checked by `atlas_manifests::log::reader`.

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::proof::MAX_FILE;
use atlas_manifests::log::reader::{Source, SourceError};
use atlas_manifests::log::tile::{Bundle, Resource};

use crate::http::{Http, HttpError, join};

/// Neither a list of keys nor a certificate is longer, in bytes.
const MAX_SMALL: u64 = 1 << 20;

/// Where it is served.
#[derive(Debug, Clone)]
pub struct Remote {
    http: Http,
    prefix: String,
}

impl Remote {
    /// The log below this URL. Nothing is asked yet.
    pub fn new(http: Http, prefix: &str) -> Self {
        Self {
            http,
            prefix: prefix.trim_end_matches('/').to_owned(),
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.prefix
    }

    /// The keys that it names, one a line; nobody vouches for them. `None`: it names none.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn keys(&self) -> Result<Option<Vec<u8>>, SourceError> {
        self.file("keys", MAX_SMALL)
    }

    /// The certificate of its key. `None`: it has none.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn certificate(&self) -> Result<Option<Vec<u8>>, SourceError> {
        self.file("certificate.pem", MAX_SMALL)
    }

    /// The proof that it gives for a manifest, not checked. `None`: it has none.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn proof(&self, manifest: &Sha256) -> Result<Option<Vec<u8>>, SourceError> {
        self.file(&format!("proof/{}", manifest.hex()), MAX_FILE as u64)
    }

    fn file(&self, below: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let url = join(&self.prefix, below);
        let failed = |e: HttpError| SourceError {
            what: e.url,
            why: e.why,
        };
        let reply = self.http.get(&url, most).map_err(failed)?;
        match reply.status {
            200 => Ok(Some(reply.body)),
            404 | 410 => Ok(None),
            other => Err(SourceError {
                what: url,
                why: format!("answers {other}"),
            }),
        }
    }
}

impl Source for Remote {
    /// In the place of a partial tile or bundle that is not served any more: the beginning of the full one.
    fn get(&self, resource: &Resource) -> Result<Option<Vec<u8>>, SourceError> {
        let fetch = |r: &Resource| self.file(&r.path(), r.max_len() as u64);
        if let Some(bytes) = fetch(resource)? {
            return Ok(Some(bytes));
        }
        let Some(full) = resource.of_full() else {
            return Ok(None);
        };
        let Some(mut bytes) = fetch(&full)? else {
            return Ok(None);
        };
        Ok(match *resource {
            Resource::Entries { width, .. } => {
                Bundle::first(bytes, width).ok().map(|b| b.bytes().to_vec())
            }
            _ => (bytes.len() >= resource.max_len()).then(|| {
                bytes.truncate(resource.max_len());
                bytes
            }),
        })
    }
}
