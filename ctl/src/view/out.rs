//! Standard output: data, and nothing but data. Messages go to standard error (`say`).

use std::io::{self, BufWriter, Stdout, Write as _};

use serde::Serialize;

use crate::exit::{Code, Failure};
use crate::view::{escape, json, paint::Paint};

/// Standard output, buffered. A closed pipe ends the command quietly with `Code::CLOSED_PIPE`.
pub(crate) struct Out {
    to: BufWriter<Stdout>,
    begun: bool,
    /// Colours for what is printed here.
    pub paint: Paint,
}

impl Out {
    /// Standard output with these colours.
    pub(crate) fn new(paint: Paint) -> Self {
        Self {
            to: BufWriter::with_capacity(1 << 16, io::stdout()),
            begun: false,
            paint,
        }
    }

    /// Prints one line; what is untrusted in it was escaped by whoever composed it.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints several lines that end in newlines already.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Prints one JSON document and a newline.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let text = json::document(value).map_err(|e| Failure::error(format!("JSON: {e}")))?;
        self.line(&text)
    }

    /// Makes what was printed visible.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(|e| closed(&e))
    }

    /// Whether anything was printed.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.begun = true;
        self.to.write_all(bytes).map_err(|e| closed(&e))
    }
}

/// Prints one message on standard error, escaped. A closed standard error is nobody's fault.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escape::line(text));
}

fn closed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::silent(Code::CLOSED_PIPE)
    } else {
        Failure::io("standard output", error)
    }
}
