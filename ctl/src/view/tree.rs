//! Branches drawn with lines. Not what hangs on them: see `command::lineage`.

/// A line of text and what hangs below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    /// One or several lines, escaped and painted already.
    pub lines: Vec<String>,
    /// Below it, in order.
    pub below: Vec<Branch>,
}

impl Branch {
    /// A branch of one line.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self {
            lines: vec![line.into()],
            below: Vec::new(),
        }
    }
}

/// Draws a tree. Iterative: a lineage may be deeper than the stack.
pub(crate) fn draw(root: &Branch) -> String {
    const DOWN: &str = "\u{2502}  ";
    const BLANK: &str = "   ";
    const FORK: &str = "\u{251c}\u{2500} ";
    const LAST: &str = "\u{2514}\u{2500} ";
    // Deeper than this nobody can read the lines: they stop moving to the right, and the depth is said instead.
    const DEEPEST: usize = 40;

    let mut out = String::new();
    let mut stack: Vec<(&Branch, Vec<bool>)> = vec![(root, Vec::new())];
    while let Some((branch, last)) = stack.pop() {
        let shown = &last[last.len().saturating_sub(DEEPEST)..];
        let deeper = last.len() - shown.len();
        for (i, line) in branch.lines.iter().enumerate() {
            if deeper > 0 {
                out.push_str(&format!("[+{deeper}] "));
            }
            for (depth, is_last) in shown.iter().enumerate() {
                let own = depth + 1 == shown.len();
                out.push_str(match (own && i == 0, *is_last) {
                    (true, true) => LAST,
                    (true, false) => FORK,
                    (false, true) => BLANK,
                    (false, false) => DOWN,
                });
            }
            if i > 0 && !branch.below.is_empty() {
                out.push_str(DOWN);
            } else if i > 0 {
                out.push_str(BLANK);
            }
            out.push_str(line);
            out.push('\n');
        }
        for (i, child) in branch.below.iter().enumerate().rev() {
            let mut path = last.clone();
            path.push(i + 1 == branch.below.len());
            stack.push((child, path));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_hang_where_they_belong() {
        let mut root = Branch::new("model");
        root.lines.push("by run".to_owned());
        let mut data = Branch::new("data");
        data.below.push(Branch::new("raw"));
        root.below = vec![data, Branch::new("code")];
        let expected = "\
model
\u{2502}  by run
\u{251c}\u{2500} data
\u{2502}  \u{2514}\u{2500} raw
\u{2514}\u{2500} code
";
        assert_eq!(draw(&root), expected);
    }

    #[test]
    fn a_chain_longer_than_the_stack_is_drawn() {
        let mut root = Branch::new("leaf");
        for i in 0..2_000 {
            root = Branch {
                lines: vec![i.to_string()],
                below: vec![root],
            };
        }
        let drawn = draw(&root);
        assert_eq!(drawn.lines().count(), 2_001);
        assert!(drawn.lines().all(|l| l.chars().count() < 160));
    }
}
