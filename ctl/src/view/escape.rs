//! Untrusted names and arguments made safe for a terminal: shown, never sent. Not for JSON, which has its own escapes (`view::json`).

use std::fmt::Write as _;

/// No single name or argument is shown longer than this, in characters.
const LONGEST: usize = 400;

/// True for a character that a terminal, or a reader's eye, may take for something else: controls (C0, DEL, C1),
/// line and paragraph separators, and the marks that change the direction of text or take no room.
pub(crate) fn unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A name or path: one line, and one spelling for each name (a backslash is doubled, a byte that is not UTF-8 is `\xff`).
pub(crate) fn name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                out.push_str("\\\\");
            } else {
                push(&mut out, c);
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\x{b:02x}");
        }
    }
    out
}

/// A composed message, whose own backslashes stand for themselves: one line.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c);
    }
    out
}

/// An argument list as a person would type it; arguments with spaces or marks of the shell are quoted. Cut off when it is very long.
pub(crate) fn argv<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut out = String::new();
    let mut length = 0;
    for arg in args {
        if length > LONGEST {
            out.push_str(" ...");
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        let shown = short(&name(arg), LONGEST);
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+\\~".contains(c);
        let quoted = if !shown.is_empty() && shown.chars().all(plain) {
            shown
        } else {
            format!("'{}'", shown.replace('\'', "'\\''"))
        };
        length += quoted.chars().count();
        out.push_str(&quoted);
    }
    out
}

/// Text of at most `most` characters: the middle of a longer one is replaced by `...`.
pub(crate) fn short(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let keep = most.saturating_sub(3);
    let (head, tail) = (keep.div_ceil(2), keep / 2);
    let mut out: String = text.chars().take(head).collect();
    out.push_str("...");
    out.extend(text.chars().skip(count - tail));
    out
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c if c.is_ascii_control() => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        c if unsafe_to_show(c) => {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_escape_sequence_in_a_name_is_shown_and_not_sent() {
        assert_eq!(name(b"\x1b]0;owned\x07x"), r"\x1b]0;owned\x07x");
        assert_eq!(name("\u{9b}31m".as_bytes()), r"\u{9b}31m");
        assert_eq!(
            name("safe\u{202e}gpj.exe".as_bytes()),
            r"safe\u{202e}gpj.exe"
        );
        assert_eq!(name(b"a\\nb\nc\xff"), r"a\\nb\nc\xff");
        assert_eq!(
            name("d\u{e9}j\u{e0} \u{1f600}".as_bytes()),
            "d\u{e9}j\u{e0} \u{1f600}"
        );
    }

    #[test]
    fn arguments_are_quoted_as_a_shell_would_want_them() {
        let args: [&[u8]; 4] = [b"sh", b"-c", b"echo 'a' $HOME", b""];
        assert_eq!(argv(args), r"sh -c 'echo '\''a'\'' $HOME' ''");
    }

    #[test]
    fn a_very_long_argument_does_not_fill_the_screen() {
        let long = vec![b'x'; 10_000];
        let shown = argv([&b"sh"[..], &long, &long, &long]);
        assert!(shown.chars().count() < 900, "{}", shown.len());
        assert!(shown.ends_with(" ..."));
        assert_eq!(short("abcdefghij", 7), "ab...ij");
    }

    proptest! {
        #[test]
        fn nothing_shown_ever_holds_a_control_character(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in ".{0,64}") {
            for shown in [name(&bytes), name(text.as_bytes()), line(&text), argv([&bytes[..], text.as_bytes()])] {
                prop_assert!(!shown.chars().any(unsafe_to_show), "{shown:?}");
            }
        }

        #[test]
        fn two_names_are_never_shown_alike(a in proptest::collection::vec(any::<u8>(), 0..6), b in proptest::collection::vec(any::<u8>(), 0..6)) {
            prop_assert_eq!(a == b, name(&a) == name(&b));
        }
    }
}
