//! JSON as it leaves the program: what a terminal might obey is written as an escape, which means the same to every reader.

use std::fmt::Write as _;

use serde::Serialize;

use crate::view::escape::unsafe_to_show;

/// One document, indented.
pub(crate) fn document<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| harmless(&text))
}

/// One document on one line.
pub(crate) fn line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| harmless(&text))
}

/// Outside strings JSON is ASCII without controls other than newlines, so whatever else is found stands in a string,
/// where `\uXXXX` may replace it. serde_json has already escaped C0.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && unsafe_to_show(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_reads_back_the_same_and_a_terminal_obeys_none_of_it(text in "\\PC{0,16}|.{0,16}|[\u{7f}-\u{a0}\u{202e}\u{e0001}\n]{0,8}") {
            let shown = document(&[&text]).unwrap();
            prop_assert!(!shown.chars().any(|c| c != '\n' && unsafe_to_show(c)), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), vec![text]);
        }
    }
}
