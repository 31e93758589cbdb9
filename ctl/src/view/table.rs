//! Columns of text. The last one may hold anything of any width; the others are aligned.

use crate::view::paint::Paint;

/// One cell: its text, and the text as it is painted.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    painted: Option<String>,
    right: bool,
}

impl Cell {
    /// Aligned left.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            painted: None,
            right: false,
        }
    }

    /// Aligned right: numbers.
    pub(crate) fn right(text: impl Into<String>) -> Self {
        Self {
            right: true,
            ..Self::new(text)
        }
    }

    /// The same cell in colour.
    pub(crate) fn painted(mut self, paint: impl FnOnce(&str) -> String) -> Self {
        self.painted = Some(paint(&self.text));
        self
    }
}

/// Lines of cells under a heading. Empty when there are no rows.
pub(crate) fn table<const N: usize>(
    heading: [&str; N],
    rows: &[[Cell; N]],
    paint: Paint,
) -> String {
    let mut widths = heading.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut out = String::new();
    if rows.is_empty() {
        return out;
    }
    for (i, (text, width)) in heading.iter().zip(widths).enumerate() {
        let right = rows.iter().any(|row| row[i].right);
        push(&mut out, text, &paint.dim(text), right, width, i + 1 == N);
    }
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            let shown = cell.painted.as_deref().unwrap_or(&cell.text);
            push(&mut out, &cell.text, shown, cell.right, width, i + 1 == N);
        }
    }
    out
}

fn push(out: &mut String, text: &str, shown: &str, right: bool, width: usize, last: bool) {
    let gap = " ".repeat(width.saturating_sub(text.chars().count()));
    match (right, last) {
        (true, _) => {
            out.push_str(&gap);
            out.push_str(shown);
        }
        (false, true) => out.push_str(shown),
        (false, false) => {
            out.push_str(shown);
            out.push_str(&gap);
        }
    }
    out.push_str(if last { "\n" } else { "  " });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_painted() {
        let rows = [
            [
                Cell::new("sealed").painted(|t| format!("<{t}>")),
                Cell::right("7 B"),
                Cell::new("a"),
            ],
            [
                Cell::new("open"),
                Cell::right("1.2 MB"),
                Cell::new("a long name"),
            ],
        ];
        assert_eq!(
            table(["STATE", "SIZE", "NAME"], &rows, Paint::PLAIN),
            "STATE     SIZE  NAME\n<sealed>     7 B  a\nopen    1.2 MB  a long name\n"
        );
        assert_eq!(table(["A"], &[], Paint::PLAIN), "");
    }
}
