//! An observer that writes down what it is told, one line an event, and answers virtual files from memory.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use atlas_fs::vfs::observer::{Caller, Change, FileKey, HandleId, Observer, Opened};
use atlas_manifests::rows::FileIdentity;
use rustix::io::Errno;

pub struct Recorder {
    log: Mutex<File>,
    marks: Mutex<Vec<u8>>,
}

impl Recorder {
    pub fn new(log: File) -> Self {
        Self {
            log: Mutex::new(log),
            marks: Mutex::new(Vec::new()),
        }
    }

    fn line(&self, text: &str) {
        let mut log = self.log.lock().expect("not poisoned");
        log.write_all(format!("{text}\n").as_bytes())
            .expect("logged");
    }
}

impl Observer for Recorder {
    fn before_change(&self, _: FileKey, _: bool) {
        self.line("before_change");
    }
    fn opened(&self, o: &Opened<'_>) {
        let a = o.access;
        let mut how = String::new();
        for (set, letter) in [
            (a.read, 'r'),
            (a.write, 'w'),
            (a.truncate, 't'),
            (a.created, 'c'),
            (a.exec, 'x'),
        ] {
            if set {
                how.push(letter);
            }
        }
        let (path, inline) = (o.path.display(), o.inline);
        let (size, uid) = (o.before.size, o.caller.uid);
        self.line(&format!(
            "opened {path} {how} inline={inline} before={size} uid={uid} tid={} h={}",
            o.caller.tid.0, o.handle.0
        ));
    }
    fn read(&self, _: HandleId, offset: u64, bytes: &[u8]) {
        self.line(&format!("read {offset}+{}", bytes.len()));
    }
    fn wrote(&self, _: HandleId, offset: u64, bytes: &[u8]) {
        self.line(&format!("wrote {offset}+{}", bytes.len()));
    }
    fn flushed(&self, h: HandleId, c: Caller, now: &FileIdentity) {
        self.line(&format!(
            "flushed h={} tid={} size={}",
            h.0, c.tid.0, now.size
        ));
    }
    fn released(&self, h: HandleId, now: Option<&FileIdentity>) {
        let size = now.map(|n| n.size);
        self.line(&format!("released h={} size={size:?}", h.0));
    }
    fn changed(&self, _: FileKey, handle: Option<HandleId>, path: &Path, how: Change, _: Caller) {
        let by = if handle.is_some() { "handle" } else { "path" };
        self.line(&format!("changed {} {how:?} by {by}", path.display()));
    }
    fn copied(&self, _: HandleId, _: HandleId, _: Caller) {
        self.line("copied");
    }
    fn renamed(&self, from: &Path, to: &Path, replaced: Option<FileKey>, _: Caller) {
        let (from, to) = (from.display(), to.display());
        self.line(&format!(
            "renamed {from} {to} replaced={}",
            replaced.is_some()
        ));
    }
    fn exchanged(&self, a: &Path, b: &Path, _: Caller) {
        self.line(&format!("exchanged {} {}", a.display(), b.display()));
    }
    fn linked(&self, _: FileKey, path: &Path) {
        self.line(&format!("linked {}", path.display()));
    }
    fn unlinked(&self, _: FileKey, path: &Path, last: bool, _: Caller) {
        self.line(&format!("unlinked {} last={last}", path.display()));
    }
    fn attribute(&self, _: FileKey, name: &[u8], _: Caller) -> Option<Result<Vec<u8>, Errno>> {
        match name {
            b"user.atlas.state" => Some(Ok(b"sealed".to_vec())),
            b"user.atlas.manifest" => Some(Err(Errno::AGAIN)),
            _ => None,
        }
    }
    fn virtual_file(&self, name: &Path, _: Caller) -> Option<Result<Vec<u8>, Errno>> {
        match name.to_str()? {
            "status" => Some(Ok(b"{\"v\":1}\n".to_vec())),
            "mark" => Some(Ok(self.marks.lock().expect("not poisoned").clone())),
            "by-digest/abcd.c2pa" => Some(Ok(vec![7; 300_000])),
            "metrics" => {
                std::thread::sleep(std::time::Duration::from_secs(8));
                Some(Ok(Vec::new()))
            }
            _ => None,
        }
    }
    fn virtual_write(&self, name: &Path, bytes: &[u8], _: Caller) -> Result<(), Errno> {
        if name != Path::new("mark") {
            return Err(Errno::ACCESS);
        }
        self.marks.lock().expect("not poisoned").extend(bytes);
        Ok(())
    }
}
