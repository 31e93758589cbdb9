//! What a tree holds: names, kinds, modes, links and contents, to be compared with another. Nothing of versions.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::files;

/// All names below a directory.
pub fn names(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let below = path.strip_prefix(root).expect("below").to_owned();
            found.push(below.to_string_lossy().into_owned());
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                queue.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What a tree holds: kinds, modes, links and contents.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let show = |name: &String| {
        let path = root.join(name);
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let mut line = format!("{:o} {} {}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_file() {
            let sum = files::sha256sum(&path);
            line.push_str(&format!(" {} {} {sum}", meta.nlink(), meta.size()));
        } else if meta.is_symlink() {
            let to = fs::read_link(&path).expect("a symlink");
            line.push_str(&to.to_string_lossy());
        }
        line
    };
    names(root)
        .into_iter()
        .map(|n| (n.clone(), show(&n)))
        .collect()
}
