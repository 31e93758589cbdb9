//! What is left out by default: part of the program, so that neither a configuration nor an index beside the data is asked. Not `config.toml`.

use crate::bytes::PathBytes;

/// What is left out unless `config.toml` says otherwise, in `.gitignore` syntax.
pub const DEFAULT_EXCLUDE: [&str; 8] = [
    ".git/",
    "__pycache__/",
    "node_modules/",
    ".venv/",
    "site-packages/",
    "*.lock",
    "*.swp",
    "*.pyc",
];

/// True for a path below SOURCE that a default pattern names.
pub(crate) fn by_default(path: &PathBytes) -> bool {
    let parts: Vec<&[u8]> = path.0.split(|b| *b == b'/').collect();
    let Some((_, directories)) = parts.split_last() else {
        return false;
    };
    DEFAULT_EXCLUDE.iter().any(|pattern| {
        if let Some(directory) = pattern.strip_suffix('/') {
            directories.contains(&directory.as_bytes())
        } else {
            let end = pattern.trim_start_matches('*').as_bytes();
            parts.iter().any(|part| part.ends_with(end))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_default_names_is_left_out() {
        for path in [
            ".git/HEAD",
            "a/.git/objects/x",
            "a/__pycache__/b.pyc",
            ".venv/bin/x",
            "x.lock",
            "a/b.swp",
            "dir.lock/x",
        ] {
            assert!(by_default(&path.into()), "{path}");
        }
        for path in [
            "",
            "model.pt",
            ".git",
            "a.git/x",
            ".gitignore",
            "lock",
            "x.lock.pt",
            "site-packages",
        ] {
            assert!(!by_default(&path.into()), "{path}");
        }
    }
}
