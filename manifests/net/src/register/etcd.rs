//! A register at a key of etcd, by the JSON gateway of its version 3. No leases, no watches.

use std::sync::Mutex;
use std::sync::PoisonError;

use atlas_manifests::log::register::{Register, RegisterError, Swapped, check_length};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::http::{Http, Pem, given, parse};
use super::{Env, Server};

/// A key of etcd.
pub struct Etcd {
    http: Http,
    /// Where the server is, without a path.
    base: String,
    key: String,
    user: Option<(String, String)>,
    /// What the server gave for the password.
    token: Mutex<Option<String>>,
}

impl Etcd {
    /// `etcd://host:port/key`, or `etcds://` for TLS. Nobody is asked yet.
    ///
    /// # Errors
    /// `Unfit` when it is no such address, or when a file that it names cannot be read.
    pub fn new(address: &str, env: Env<'_>) -> Result<Self, RegisterError> {
        let form = "etcd://host:port/key, or etcds://host:port/key?cacert=PEM&cert=PEM&key=PEM";
        let (url, key, all) = parse(address, form, &["cacert", "cert", "key"])?;
        let scheme = match url.scheme() {
            "etcds" => "https",
            _ => "http",
        };
        let host = url.host_str().unwrap_or_default();
        let port = url.port().unwrap_or(2379);
        let name = format!("register {}://{host}:{port}/{key}", url.scheme());
        let pem = Pem {
            roots: given(&all, "cacert"),
            certificate: given(&all, "cert"),
            key: given(&all, "key"),
        };
        let user = match (env("ETCD_USERNAME"), env("ETCD_PASSWORD")) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => {
                return Err(RegisterError::unfit(
                    name,
                    "ETCD_USERNAME and ETCD_PASSWORD go together",
                ));
            }
        };
        Ok(Self {
            http: Http::new(name, &url, &pem)?,
            base: format!("{scheme}://{host}:{port}"),
            key,
            user,
            token: Mutex::default(),
        })
    }

    fn key(&self) -> String {
        BASE64.encode(&self.key)
    }

    /// Asks, and authenticates before it when that is needed.
    fn ask(&self, what: &str, question: &Value) -> Result<Value, RegisterError> {
        let mut renewed = false;
        loop {
            let token = self.token(renewed)?;
            let answer = self.post(what, question, token.as_deref())?;
            // Tokens end: then nothing was done.
            match answer {
                Err(e) if e.stale && token.is_some() && !renewed => renewed = true,
                Err(e) => return Err(e.error),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn token(&self, renew: bool) -> Result<Option<String>, RegisterError> {
        let Some((user, password)) = &self.user else {
            return Ok(None);
        };
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if renew || token.is_none() {
            let question = json!({ "name": user, "password": password });
            let answer = self.post("auth/authenticate", &question, None)?;
            let answer = answer.map_err(|e| e.error)?;
            *token = answer
                .get("token")
                .and_then(Value::as_str)
                .map(str::to_owned);
        }
        Ok(token.clone())
    }

    fn post(
        &self,
        what: &str,
        question: &Value,
        token: Option<&str>,
    ) -> Result<Result<Value, Refused>, RegisterError> {
        let url = format!("{}/v3/{what}", self.base);
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(token.map(|token| ("authorization", token)));
        let body = question.to_string();
        let answer = self.http.send("POST", &url, &headers, body.as_bytes())?;
        let said = serde_json::from_slice::<Value>(&answer.body);
        if answer.status == 200 {
            let said =
                said.map_err(|_| self.http.unfit("it does not answer like etcd: is it one?"))?;
            return Ok(Ok(said));
        }
        let said = said.unwrap_or_default();
        let words = said.get("message").or_else(|| said.get("error"));
        let words = answer.words(words.and_then(Value::as_str).unwrap_or_default());
        let stale = words.contains("invalid auth token");
        let error = match answer.status {
            400 if words.contains("user name is empty") => self
                .http
                .unfit(format!("{words}: set ETCD_USERNAME and ETCD_PASSWORD")),
            400 | 401 | 403 => self.http.unfit(format!(
                "{words}: check ETCD_USERNAME, ETCD_PASSWORD and what that user may do"
            )),
            404 | 405 | 501 => self
                .http
                .unfit(format!("{words}: it is no etcd of version 3.4 or later")),
            _ => self.http.unreachable(words),
        };
        Ok(Err(Refused { stale, error }))
    }
}

struct Refused {
    /// A new token might help.
    stale: bool,
    error: RegisterError,
}

impl Register for Etcd {
    fn name(&self) -> String {
        self.http.name.clone()
    }

    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
        // Not `serializable`: one member's word may be old.
        let answer = self.ask("kv/range", &json!({ "key": self.key() }))?;
        if answer.get("header").is_none() {
            return Err(self.http.unfit("it does not answer like etcd: is it one?"));
        }
        let Some(held) = answer.get("kvs").and_then(|kvs| kvs.get(0)) else {
            return Ok(None);
        };
        // An empty one is left out.
        let value = held
            .get("value")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let value = BASE64.decode(value);
        value
            .map(Some)
            .map_err(|_| self.http.unfit("its value is not base64"))
    }

    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
        check_length(&self.http.name, new)?;
        let compare = match old {
            // What does not exist equals no value, not even an empty one.
            Some(old) => json!({ "target": "VALUE", "value": BASE64.encode(old) }),
            None => json!({ "target": "CREATE", "create_revision": "0" }),
        };
        let mut compare = compare;
        if let Some(compare) = compare.as_object_mut() {
            compare.insert("key".to_owned(), self.key().into());
            compare.insert("result".to_owned(), "EQUAL".into());
        }
        let put = json!({ "key": self.key(), "value": BASE64.encode(new) });
        let answer = self.ask(
            "kv/txn",
            &json!({ "compare": [compare], "success": [{ "request_put": put }] }),
        )?;
        if answer.get("header").is_none() {
            return Err(self.http.unreachable("it does not say what became of it"));
        }
        // False is left out.
        match answer.get("succeeded").and_then(Value::as_bool) {
            Some(true) => Ok(Swapped::Done),
            _ => Ok(Swapped::Lost),
        }
    }
}

impl Server for Etcd {
    fn beside(&self, suffix: &str) -> Result<Self, RegisterError> {
        Ok(Self {
            http: self.http.again(format!("{}{suffix}", self.http.name)),
            base: self.base.clone(),
            key: format!("{}{suffix}", self.key),
            user: self.user.clone(),
            token: Mutex::default(),
        })
    }

    fn remove(&self) -> Result<(), RegisterError> {
        let question = json!({ "key": self.key() });
        self.ask("kv/deleterange", &question).map(drop)
    }
}
