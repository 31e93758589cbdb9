//! Branches drawn with lines. Not what hangs on them: see `view::lineage`.

/// Deeper than this nobody can read the lines: they stop moving to the right, and the depth is said instead.
const DEEPEST: usize = 40;
const DOWN: &str = "\u{2502}  ";
const BLANK: &str = "   ";
const FORK: &str = "\u{251c}\u{2500} ";
const LAST: &str = "\u{2514}\u{2500} ";

/// One branch still to be drawn: for each level above it, nearest last, whether that was the last of its siblings.
struct Due<T> {
    item: T,
    depth: usize,
    last: Vec<bool>,
}

/// Draws a tree from the top. `visit` is called once for each branch, in the order of the lines, and says its lines (escaped and
/// painted already) and what hangs below it. Iterative: a lineage may be deeper than the stack.
pub(crate) fn draw<T>(root: T, mut visit: impl FnMut(T) -> (Vec<String>, Vec<T>)) -> String {
    let mut out = String::new();
    let mut stack = vec![Due {
        item: root,
        depth: 0,
        last: Vec::new(),
    }];
    while let Some(Due { item, depth, last }) = stack.pop() {
        let (lines, below) = visit(item);
        let deeper = depth - last.len();
        for (i, line) in lines.iter().enumerate() {
            if deeper > 0 {
                out.push_str(&format!("[+{deeper}] "));
            }
            push_lines(&mut out, &last, i == 0);
            if i > 0 {
                out.push_str(if below.is_empty() { BLANK } else { DOWN });
            }
            out.push_str(line);
            out.push('\n');
        }
        let count = below.len();
        for (i, item) in below.into_iter().enumerate().rev() {
            let mut path = last[last.len().saturating_sub(DEEPEST - 1)..].to_vec();
            path.push(i + 1 == count);
            stack.push(Due {
                item,
                depth: depth + 1,
                last: path,
            });
        }
    }
    out
}

fn push_lines(out: &mut String, last: &[bool], first_line: bool) {
    for (level, is_last) in last.iter().enumerate() {
        let own = first_line && level + 1 == last.len();
        out.push_str(match (own, *is_last) {
            (true, true) => LAST,
            (true, false) => FORK,
            (false, true) => BLANK,
            (false, false) => DOWN,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_hang_where_they_belong() {
        let drawn = draw("model", |item| match item {
            "model" => (
                vec!["model".to_owned(), "by run".to_owned()],
                vec!["data", "code"],
            ),
            "data" => (vec!["data".to_owned()], vec!["raw"]),
            leaf => (vec![leaf.to_owned(), "x".to_owned()], vec![]),
        });
        let expected = "\
model
\u{2502}  by run
\u{251c}\u{2500} data
\u{2502}  \u{2514}\u{2500} raw
\u{2502}        x
\u{2514}\u{2500} code
      x
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn a_chain_longer_than_the_stack_is_drawn() {
        let drawn = draw(0u32, |n| {
            (
                vec![n.to_string()],
                (n < 100_000).then_some(n + 1).into_iter().collect(),
            )
        });
        assert_eq!(drawn.lines().count(), 100_001);
        assert!(drawn.lines().all(|l| l.chars().count() < 160));
        assert!(
            drawn
                .lines()
                .last()
                .is_some_and(|l| l.starts_with("[+99960] "))
        );
    }
}
