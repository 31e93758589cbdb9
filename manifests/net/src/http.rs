//! HTTP as a client speaks it here: bounds on time and size, no redirects. Not what is asked, and not whether the answer is to be believed.

use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How we call ourselves.
const AGENT: &str = concat!("atlas/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {why}")]
pub struct HttpError {
    /// What was asked.
    pub url: String,
    /// What kind of failure it is.
    pub kind: Failure,
    /// Why, in words.
    pub why: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The address is none, or others have to be asked: it fails again until somebody changes that.
    Address,
    /// There was no whole answer in time.
    Late,
    /// Nobody was reached, or the connection broke.
    Broken,
    /// There was an answer, and it is not what was asked for.
    Answer,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP's number.
    pub status: u16,
    /// As it stands in the header.
    pub content_type: Option<String>,
    /// `Retry-After`: when to ask again.
    pub retry_after: Option<String>,
    /// The place of an entry that Rekor has already.
    pub log_index: Option<String>,
    /// All of it.
    pub body: Vec<u8>,
}

/// A client. Connections are kept and used again; clones share them.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
}

impl Http {
    /// One whose every request takes at most `whole`, name resolution and body included.
    pub fn new(whole: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Whoever is asked answers: an address that others chose is none that the user named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(whole))
            .timeout_connect(Some(CONNECT.min(whole)))
            .user_agent(AGENT)
            .build();
        Self {
            agent: config.new_agent(),
        }
    }

    /// Gets what lies at a URL, of at most `most` bytes.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn get(&self, url: &str, most: u64) -> Result<Reply, HttpError> {
        let url = checked(url)?;
        read(url, self.agent.get(url).call(), most)
    }

    /// Posts bytes to a URL; its answer has at most `most` bytes.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn post(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
        most: u64,
    ) -> Result<Reply, HttpError> {
        let url = checked(url)?;
        let request = self.agent.post(url).content_type(content_type);
        read(url, request.send(body), most)
    }
}

/// A prefix and what is below it.
pub fn join(prefix: &str, below: &str) -> String {
    format!("{}/{below}", prefix.trim_end_matches('/'))
}

fn checked(url: &str) -> Result<&str, HttpError> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(url);
    }
    Err(HttpError {
        url: url.to_owned(),
        kind: Failure::Address,
        why: "is no address: it begins with https:// or http://".to_owned(),
    })
}

fn read(
    url: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    most: u64,
) -> Result<Reply, HttpError> {
    let failed = |e: ureq::Error| HttpError {
        url: url.to_owned(),
        kind: match e {
            ureq::Error::BodyExceedsLimit(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::Protocol(_) => Failure::Answer,
            ureq::Error::Timeout(_) => Failure::Late,
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::Address,
            _ => Failure::Broken,
        },
        why: match e {
            ureq::Error::BodyExceedsLimit(_) => format!("the answer is longer than {most} bytes"),
            ureq::Error::Timeout(_) => "no answer in time".to_owned(),
            e => e.to_string(),
        },
    };
    let mut answer = answer.map_err(failed)?;
    let status = answer.status().as_u16();
    let header = |name| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    let content_type = header("content-type");
    let (retry_after, log_index) = (header("retry-after"), header("x-log-index"));
    if (300..400).contains(&status) {
        let to = header("location").unwrap_or_default();
        return Err(HttpError {
            url: url.to_owned(),
            kind: Failure::Address,
            why: format!("redirects to {to:?}: if that is right, name it instead"),
        });
    }
    let body = answer
        .body_mut()
        .with_config()
        .limit(most)
        .read_to_vec()
        .map_err(failed)?;
    Ok(Reply {
        status,
        content_type,
        retry_after,
        log_index,
        body,
    })
}
