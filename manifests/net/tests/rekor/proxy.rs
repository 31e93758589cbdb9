//! Stands between a client and a server and answers whatever a test wants. Not a proxy for anything else: one request a connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atlas_net::http::Http;

/// What was asked.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) enum Act {
    Say(Said),
    /// Nothing, for as long as the proxy lives.
    Hang,
    /// The connection ends.
    Close,
}

type Handler = Box<dyn FnMut(&Asked) -> Act + Send>;

pub(crate) struct Proxy {
    pub(crate) url: String,
    posts: Arc<AtomicUsize>,
    handler: Arc<Mutex<Handler>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Said {
    pub(crate) fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// Asks the real one.
pub(crate) fn forward(url: &str, asked: &Asked) -> Said {
    let (http, url) = (
        Http::new(Duration::from_secs(20)),
        format!("{url}{}", asked.path),
    );
    let reply = if asked.method == "POST" {
        http.post(&url, "application/json", &asked.body, 1 << 20)
    } else {
        http.get(&url, 1 << 20)
    };
    let reply = reply.unwrap();
    Said {
        status: reply.status,
        headers: reply
            .log_index
            .map(|i| ("X-Log-Index", i))
            .into_iter()
            .collect(),
        body: reply.body,
    }
}

impl Proxy {
    pub(crate) fn start(handler: impl FnMut(&Asked) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posts = Arc::new(AtomicUsize::new(0));
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let stop = Arc::new(AtomicBool::new(false));
        let (p, h, s) = (Arc::clone(&posts), Arc::clone(&handler), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if s.load(Ordering::SeqCst) {
                    return;
                }
                let (p, h, s) = (Arc::clone(&p), Arc::clone(&h), Arc::clone(&s));
                if let Ok(stream) = stream {
                    thread::spawn(move || serve(stream, &p, &h, &s));
                }
            }
        });
        Self {
            url,
            posts,
            handler,
            stop,
            thread: Some(thread),
        }
    }

    /// Answers in another way from now on.
    pub(crate) fn set(&self, handler: impl FnMut(&Asked) -> Act + Send + 'static) {
        *self.handler.lock().unwrap() = Box::new(handler);
    }

    pub(crate) fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, posts: &AtomicUsize, handler: &Mutex<Handler>, stop: &AtomicBool) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let Some(asked) = read(&mut stream) else {
        return;
    };
    posts.fetch_add(usize::from(asked.method == "POST"), Ordering::SeqCst);
    let act = handler.lock().unwrap()(&asked);
    match act {
        Act::Close => {}
        Act::Hang => {
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
        }
        Act::Say(said) => {
            let length = said.body.len();
            let mut head = format!(
                "HTTP/1.1 {} X\r\nContent-Length: {length}\r\nConnection: close\r\n",
                said.status
            );
            for (name, value) in &said.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&said.body);
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
            let length = length.map_or(0, |l| l.trim().parse().unwrap());
            if all.len() >= end + 4 + length {
                let first = String::from_utf8_lossy(&all[..end]).into_owned();
                let mut words = first.split(' ');
                return Some(Asked {
                    method: words.next()?.to_owned(),
                    path: words.next()?.to_owned(),
                    body: all[end + 4..].to_vec(),
                });
            }
        }
        let n = stream.read(&mut part).ok().filter(|n| *n > 0)?;
        all.extend_from_slice(&part[..n]);
    }
}
