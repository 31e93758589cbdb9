//! What a command says when it fails: one line and an exit code (CONTRACTS 5). Not the errors of the modules below.

use std::fmt;
use std::path::Path;

/// Wrong usage.
pub const USAGE: i32 = 2;
/// Any other failure.
pub const OTHER: i32 = 1;
/// The daemon is not reachable.
pub const UNREACHABLE: i32 = 9;

/// A failure as a person and a script are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: i32,
    /// What is wrong and what to do, in one line.
    text: String,
}

impl Failure {
    /// A failure with its exit code. Control characters in the text are escaped: it may hold names that others chose.
    pub fn new(code: i32, text: impl fmt::Display) -> Self {
        Self {
            code,
            text: plain(&text.to_string()),
        }
    }

    /// Exit code 1.
    pub fn other(text: impl fmt::Display) -> Self {
        Self::new(OTHER, text)
    }

    /// Exit code 2.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self::new(USAGE, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// A path as a terminal may see it.
pub fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

/// Text without control characters and without marks that change the direction of what follows: those are escaped.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_to_the_terminal_nor_make_a_second_line() {
        let failure = Failure::other("a\nb\u{1b}[2Jc\u{9b}d\u{202e}e");
        assert_eq!(failure.to_string(), "a\\nb\\u{1b}[2Jc\\u{9b}d\\u{202e}e");
        assert_eq!(plain("plain \u{e9}"), "plain \u{e9}");
    }
}
