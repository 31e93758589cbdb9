//! Where in a policy's text a field stands, so that an error can name line and field. Judges nothing.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The 1-based line of a byte.
pub(super) fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|b| **b == b'\n').count() + 1
}

/// The field (`tcb.accept`) whose name or value holds this byte; `None` outside of every one, and in text that is not TOML.
pub(super) fn field(text: &str, at: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut path = Vec::new();
    descend(table.get_ref(), at, &mut path);
    (!path.is_empty()).then(|| path.join("."))
}

/// The byte at which a field (`tcb.accept`) begins.
pub(super) fn start(text: &str, field: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut at = None;
    let mut table = Some(table.get_ref());
    for word in field.split('.') {
        let (key, value) = table?
            .iter()
            .find(|(key, _)| key.get_ref().as_ref() == word)?;
        at = Some(key.span().start);
        table = value.get_ref().as_table();
    }
    at
}

fn descend(table: &DeTable<'_>, at: usize, path: &mut Vec<String>) {
    let holds = |span: Range<usize>| span.contains(&at);
    for (key, value) in table {
        let inner = match value.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => None,
        };
        path.push(key.get_ref().to_string());
        let depth = path.len();
        if let Some(inner) = inner {
            // The span of a table is that of its header, so what it holds is asked first.
            descend(inner, at, path);
        }
        if path.len() > depth || holds(key.span()) || holds(value.span()) {
            return;
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_place_and_its_place_by_the_field() {
        let text = "# of ours\n[tcb]\naccept = [\n  \"UpToDate\",\n]\n[simulated]\nallow = true\n";
        for (word, name, number) in [
            ("UpToDate", "tcb.accept", 4),
            ("accept", "tcb.accept", 3),
            ("true", "simulated.allow", 7),
        ] {
            let at = text.find(word).unwrap();
            assert_eq!(field(text, at).as_deref(), Some(name));
            assert_eq!(line(text, at), number, "{word}");
        }
        assert_eq!(field(text, 0), None);
        assert_eq!(
            start(text, "simulated.allow").map(|at| line(text, at)),
            Some(7)
        );
        assert_eq!(start(text, "simulated.root"), None);
        assert_eq!(field("not TOML", 3), None);
        assert_eq!(line("a", 9), 1);
    }
}
