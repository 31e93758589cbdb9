//! A register in an object of an S3 store that honours `If-Match` and `If-None-Match`. Not a store of anything else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atlas_manifests::log::register::{MAX_VALUE, Register, RegisterError, Swapped, check_length};
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use url::Url;

use super::http::{Answer, Http, Pem, given, parse};
use super::{Env, Server};

/// A signature outlives its request, whose clock may be off by a little.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// So often something may come between a read and a write without the value being another.
const TRIES: usize = 4;

/// An object of a bucket.
pub struct S3 {
    http: Http,
    bucket: Bucket,
    credentials: Credentials,
    key: String,
    /// What the object was when it was last seen. Only the store decides whether it still is.
    seen: Mutex<Option<Object>>,
}

#[derive(Clone)]
struct Object {
    etag: String,
    value: Vec<u8>,
}

enum Put {
    Done(Option<String>),
    /// It was not as asked, at that moment.
    Differs,
}

impl S3 {
    /// `s3://bucket/key?endpoint=URL&region=NAME`. Without an endpoint it is Amazon's of the region. Nobody is asked yet.
    ///
    /// # Errors
    /// `Unfit` when it is no such address, or when there are no credentials.
    pub fn new(address: &str, env: Env<'_>) -> Result<Self, RegisterError> {
        let form = "s3://bucket/key?endpoint=https://host&region=name";
        let (url, key, all) = parse(address, form, &["endpoint", "region", "cacert"])?;
        let bucket = url.host_str().unwrap_or_default().to_owned();
        let region = given(&all, "region").unwrap_or("us-east-1").to_owned();
        let endpoint = given(&all, "endpoint");
        let style = match endpoint {
            Some(_) => UrlStyle::Path,
            None => UrlStyle::VirtualHost,
        };
        let amazon = format!("https://s3.{region}.amazonaws.com");
        let none = || super::unfit(format!("an address of its kind is {form}"));
        let endpoint = Url::parse(endpoint.unwrap_or(&amazon)).map_err(|_| none())?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(none());
        }
        let port = endpoint.port().map(|p| format!(":{p}")).unwrap_or_default();
        let host = endpoint.host_str().unwrap_or_default();
        let name = format!("register s3://{bucket}/{key} at {host}{port}");
        let (Some(id), Some(secret)) = (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"))
        else {
            let why = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where there is one)";
            return Err(RegisterError::unfit(name, why));
        };
        let credentials = match env("AWS_SESSION_TOKEN") {
            Some(token) => Credentials::new_with_token(id, secret, token),
            None => Credentials::new(id, secret),
        };
        let pem = Pem {
            roots: given(&all, "cacert"),
            ..Pem::default()
        };
        Ok(Self {
            http: Http::new(name, &endpoint, &pem)?,
            bucket: Bucket::new(endpoint, style, bucket, region).map_err(|_| none())?,
            credentials,
            key,
            seen: Mutex::default(),
        })
    }

    fn see(&self, seen: Option<Object>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// The last object seen, when its value was this.
    fn seen(&self, value: &[u8]) -> Option<Object> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone().filter(|seen| seen.value == value)
    }

    fn get(&self) -> Result<Option<Object>, RegisterError> {
        let get = self.bucket.get_object(Some(&self.credentials), &self.key);
        let url = get.sign(SIGNED_FOR);
        let answer = self.http.send("GET", url.as_str(), &[], &[])?;
        let object = match answer.status {
            200 => Some(self.object(answer)?),
            // Of a missing bucket, or of a server that is no store, nothing follows for the object.
            404 if code(&answer) == "NoSuchKey" => None,
            _ => return Err(self.refused(&answer)),
        };
        self.see(object.clone());
        Ok(object)
    }

    fn object(&self, answer: Answer) -> Result<Object, RegisterError> {
        let etag = answer.etag.filter(|e| e.starts_with('"'));
        let Some(etag) = etag else {
            return Err(self
                .http
                .unfit("it gives no strong ETag, so it cannot compare: use another store"));
        };
        if answer.body.len() > MAX_VALUE {
            return Err(self
                .http
                .unfit("what it holds is longer than any register's value: name another key"));
        }
        Ok(Object {
            etag,
            value: answer.body,
        })
    }

    fn put(&self, condition: (&str, &str), value: &[u8]) -> Result<Put, RegisterError> {
        let mut put = self.bucket.put_object(Some(&self.credentials), &self.key);
        // Signed, so that nobody on the way may leave it out.
        put.headers_mut()
            .insert(condition.0.to_owned(), condition.1.to_owned());
        let url = put.sign(SIGNED_FOR);
        let answer = self.http.send("PUT", url.as_str(), &[condition], value)?;
        match answer.status {
            200 | 201 | 204 => Ok(Put::Done(answer.etag)),
            412 => Ok(Put::Differs),
            404 if code(&answer) == "NoSuchKey" => Ok(Put::Differs),
            // Another write was under way at the same time.
            409 => Ok(Put::Differs),
            501 => Err(self.http.unfit(format!(
                "{}: it has no conditional writes, so use another store",
                answer.words(&code(&answer))
            ))),
            _ => Err(self.refused(&answer)),
        }
    }

    fn refused(&self, answer: &Answer) -> RegisterError {
        let words = answer.words(&code(answer));
        match answer.status {
            300..=399 => self.http.unfit(format!("{words}: the bucket is at another endpoint or region")),
            401 | 403 => self.http.unfit(format!(
                "{words}: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the region, the clock, and what that key may do"
            )),
            404 => self.http.unfit(format!("{words}: check the bucket and the endpoint")),
            429 | 500.. => self.http.unreachable(words),
            _ => self.http.unfit(words),
        }
    }
}

/// The code of an error in S3's words.
fn code(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let code = body
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

impl Register for S3 {
    fn name(&self) -> String {
        self.http.name.clone()
    }

    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
        Ok(self.get()?.map(|object| object.value))
    }

    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
        check_length(&self.http.name, new)?;
        let mut seen = old.and_then(|old| self.seen(old));
        for _ in 0..TRIES {
            if old.is_some() && seen.is_none() {
                seen = self.get()?;
            }
            let condition = match (&seen, old) {
                (Some(seen), Some(old)) if seen.value == old => ("if-match", seen.etag.as_str()),
                (None, None) => ("if-none-match", "*"),
                _ => return Ok(Swapped::Lost),
            };
            match self.put(condition, new) {
                Ok(Put::Done(etag)) => {
                    self.see(etag.filter(|e| e.starts_with('"')).map(|etag| Object {
                        etag,
                        value: new.to_vec(),
                    }));
                    return Ok(Swapped::Done);
                }
                // An object written again with the same value has another ETag; and what came between may have failed.
                Ok(Put::Differs) => seen = self.get()?,
                Err(e) => {
                    self.see(None);
                    return Err(e);
                }
            }
        }
        Err(self
            .http
            .unreachable("others keep writing to it: read it and try again"))
    }
}

impl Server for S3 {
    fn beside(&self, suffix: &str) -> Result<Self, RegisterError> {
        Ok(Self {
            http: self.http.again(format!("{}{suffix}", self.http.name)),
            bucket: self.bucket.clone(),
            credentials: self.credentials.clone(),
            key: format!("{}{suffix}", self.key),
            seen: Mutex::default(),
        })
    }

    fn remove(&self) -> Result<(), RegisterError> {
        let delete = self
            .bucket
            .delete_object(Some(&self.credentials), &self.key);
        let url = delete.sign(SIGNED_FOR);
        let answer = self.http.send("DELETE", url.as_str(), &[], &[])?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(self.refused(&answer)),
        }
    }
}
