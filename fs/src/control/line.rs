//! One request line: how long it may be, how long it may take, and what it says. Not the socket.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use atlas_manifests::wire::{Ask, Request, Say, VERSION};
use serde::Deserialize;

/// The longest request in bytes, its newline included: twice what Linux lets a process have for argv and environment.
pub const MAX_REQUEST: usize = 4 << 20;
/// A connection that has not sent a whole request for so long is closed.
pub const IDLE: Duration = Duration::from_secs(30);

/// What a read from the peer gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line, without its newline.
    Whole(Vec<u8>),
    /// The peer has closed its end. What came without a newline is dropped: it may have been cut short.
    End,
    /// More than `MAX_REQUEST` bytes without a newline.
    TooLong,
}

/// Splits a stream into lines. Holds at most `MAX_REQUEST` bytes, and what one read brought.
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// The buffer holds no newline before this offset.
    seen: usize,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            seen: 0,
        }
    }

    /// The next line. `arm` is told before each read how long that may still take; the whole line gets `IDLE`, not each byte of it.
    pub(super) fn next(
        &mut self,
        from: &mut impl Read,
        mut arm: impl FnMut(Duration) -> io::Result<()>,
    ) -> io::Result<Line> {
        let deadline = Instant::now() + IDLE;
        loop {
            if let Some(at) = self.buffer[self.seen..].iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=self.seen + at).collect();
                line.pop();
                self.seen = 0;
                return Ok(Line::Whole(line));
            }
            self.seen = self.buffer.len();
            if self.buffer.len() >= MAX_REQUEST {
                return Ok(Line::TooLong);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            arm(left)?;
            let mut chunk = [0u8; 8192];
            let room = chunk.len().min(MAX_REQUEST - self.buffer.len());
            match from.read(&mut chunk[..room]) {
                Ok(0) => return Ok(Line::End),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// What a request line asks, or the answer that says what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Ask, Box<Say>> {
    /// Only the version: a request of a later one may hold anything else.
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let refuse = |text: String| Err(Box::new(Say::Error { text, code: 2 }));
    match serde_json::from_slice::<Versioned>(line) {
        Ok(Versioned { v: VERSION }) => {}
        Ok(Versioned { v }) => {
            return refuse(format!(
                "this daemon speaks version {VERSION} of the control channel, not {v}: use the atlasctl that came with it"
            ));
        }
        Err(e) => return refuse(format!("not a request: {}", one_line(&e.to_string()))),
    }
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => Ok(request.ask),
        Err(e) => refuse(format!("not a request: {}", one_line(&e.to_string()))),
    }
}

/// A message that holds part of what the peer sent, cut to 200 characters and escaped.
fn one_line(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(|c| {
            let plain = !c.is_control();
            plain
                .then_some(c)
                .into_iter()
                .chain((!plain).then(|| c.escape_default()).into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives what it holds in pieces of the given sizes.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self
                .1
                .pop()
                .unwrap_or(usize::MAX)
                .clamp(1, buf.len())
                .min(self.0.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_parser_and_every_refusal_is_one_line(line in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Err(say) = parse(&line) {
                let Say::Error { text, code } = *say else { panic!("refused by something else than an error") };
                prop_assert_eq!(code, 2);
                prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            }
        }

        #[test]
        fn nearly_json_never_panics_the_parser(text in r#"\{"v":[0-9]{1,3},"op":"[a-z-]{0,9}"(,"[a-z_]{1,6}":(null|-?[0-9]{1,20}|"[^"\\]{0,5}"|\[\]|\{\})){0,4}\}?"#) {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn lines_come_out_whole_however_they_were_cut(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("newline", |b| *b != b'\n'), 0..50), 0..8),
            cuts in prop::collection::vec(1usize..40, 0..30),
        ) {
            let mut sent = lines.join(&b'\n');
            sent.push(b'\n');
            let mut from = Pieces(&sent, cuts);
            let mut reader = Lines::new();
            let expected = if lines.is_empty() { vec![Vec::new()] } else { lines };
            for line in expected {
                prop_assert_eq!(reader.next(&mut from, |_| Ok(())).unwrap(), Line::Whole(line));
            }
            prop_assert_eq!(reader.next(&mut from, |_| Ok(())).unwrap(), Line::End);
        }
    }

    #[test]
    fn a_line_without_end_is_refused_and_not_collected() {
        let mut endless = io::repeat(b'x');
        let mut reader = Lines::new();
        assert_eq!(
            reader.next(&mut endless, |_| Ok(())).unwrap(),
            Line::TooLong
        );
        assert!(reader.buffer.len() <= MAX_REQUEST);
    }

    #[test]
    fn a_known_request_is_understood_and_unknown_fields_are_not_an_error() {
        let ask = parse(br#"{"v":1,"op":"sync","wait_ms":5,"later":true}"#).unwrap();
        assert!(matches!(ask, Ask::Sync { wait_ms: 5 }));
    }

    #[test]
    fn a_later_version_and_an_unknown_op_say_what_is_wrong() {
        for (line, word) in [
            (&br#"{"v":2,"op":"status"}"#[..], "version 1"),
            (br#"{"v":1,"op":"\u001b[31mfly"}"#, "unknown variant"),
            (br#"{"op":"status"}"#, "missing field"),
            (b"", "not a request"),
        ] {
            let Say::Error { text, code } = *parse(line).unwrap_err() else {
                panic!("not an error");
            };
            assert_eq!(code, 2);
            assert!(text.contains(word), "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
}
