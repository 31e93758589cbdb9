//! What waits for its place in the log, in memory and across a crash: a small text file, there only while something waits. Not the log.

use std::io;
use std::path::Path;

use atlas_manifests::digest::{Sha256, hex, unhex};
use atlas_manifests::id::{InstanceId, NodeRef, RunId, VersionId};
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::statement::SetHead;

use crate::mount::state::replace;

/// A manifest that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version it is about.
    pub version: VersionId,
    /// SHA-256 of the manifest.
    pub manifest: Sha256,
    /// Who sealed it.
    pub instance: InstanceId,
    /// The inputs that it commits to, and whose they are.
    pub inputs: Option<(RunId, SetHead)>,
    /// It was stored by an earlier life, which may have logged it.
    pub earlier: bool,
    /// It could not be logged when it was stored.
    pub waited: bool,
}

impl Entry {
    /// Its own leaf.
    pub fn leaf(&self) -> Leaf {
        Leaf::Manifest {
            manifest: self.manifest,
            instance: self.instance,
        }
    }

    /// The leaf of what it commits to.
    pub fn inputs_leaf(&self) -> Option<Leaf> {
        let (run, head) = self.inputs?;
        (head.size > 0).then_some(Leaf::Inputs { run, head })
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{} {}",
            NodeRef::Version(self.version),
            hex(&self.leaf().encode())
        );
        if let Some(inputs) = self.inputs_leaf() {
            line.push(' ');
            line.push_str(&hex(&inputs.encode()));
        }
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let NodeRef::Version(version) = words.next()?.parse().ok()? else {
            return None;
        };
        let leaf = |word: &str| Leaf::decode(&unhex(word)?).ok();
        let Leaf::Manifest { manifest, instance } = leaf(words.next()?)? else {
            return None;
        };
        let inputs = match words.next() {
            Some(word) => match leaf(word)? {
                Leaf::Inputs { run, head } => Some((run, head)),
                _ => return None,
            },
            None => None,
        };
        words.next().is_none().then_some(Self {
            version,
            manifest,
            instance,
            inputs,
            earlier: true,
            waited: true,
        })
    }
}

/// Makes the file say what waits; takes it away when nothing does.
///
/// # Errors
/// When it cannot be written.
pub(super) fn save(path: &Path, waiting: &[Entry]) -> io::Result<()> {
    if waiting.is_empty() {
        return match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    }
    let text: String = waiting.iter().map(Entry::line).collect();
    replace(path, text.as_bytes())
}

/// What an earlier life left waiting. A line that cannot be read is passed over, and said: its manifest stays unlogged, and `verify` says so.
///
/// # Errors
/// When the file is there and cannot be read.
pub(super) fn load(path: &Path) -> io::Result<Vec<Entry>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let read = |line: &str| {
        let entry = Entry::parse(line);
        if entry.is_none() {
            tracing::warn!("a line of {} cannot be read: {line:?}", path.display());
        }
        entry
    };
    Ok(text.lines().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use atlas_manifests::id::NodeId;

    use super::*;

    fn entry(n: u64, size: u64) -> Entry {
        let instance = InstanceId([3; 16]);
        let head = SetHead {
            size,
            root: Sha256([n as u8; 32]),
        };
        Entry {
            version: VersionId {
                node: NodeId([1; 16]),
                n,
            },
            manifest: Sha256([n as u8; 32]),
            instance,
            inputs: (size > 0).then_some((RunId { instance, n }, head)),
            earlier: true,
            waited: true,
        }
    }

    #[test]
    fn what_waits_for_the_log_is_there_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waiting");
        assert_eq!(load(&path).unwrap(), []);
        let all = [entry(1, 0), entry(2, 7)];
        save(&path, &all).unwrap();
        assert_eq!(load(&path).unwrap(), all);
        std::fs::write(
            &path,
            format!("{}garbage\nx y\n{}", all[0].line(), all[1].line()),
        )
        .unwrap();
        assert_eq!(load(&path).unwrap(), all);
        save(&path, &[]).unwrap();
        assert!(!path.exists());
        save(&path, &[]).unwrap();
    }
}
