//! A mount of the real filesystem, with a provenance side that sees and seals nothing, and that fails when a test says so.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atlas_fs::control::{Handler, Peer};
use atlas_fs::failure::Failure;
use atlas_fs::fuse;
use atlas_fs::mount::{Drained, Mounted, Parts, Plan, Writer};
use atlas_fs::vfs::observer::{Caller, Change, FileKey, HandleId, Observer, Opened};
use atlas_fs::vfs::{self, IoMode, Options, Vfs};
use atlas_manifests::digest::Sha256;
use atlas_manifests::id::InstanceId;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::wire::{Ask, Say, Status};
use rustix::io::Errno;

pub(crate) struct Unobserved;

impl Parts for Unobserved {
    fn start(&self, plan: Plan) -> Result<Arc<dyn Mounted>, Failure> {
        match std::env::var("LIFE_TEST").as_deref() {
            Ok("fail") => return Err(Failure::new(6, "told to\nfail")),
            Ok("die") => std::process::abort(),
            _ => {}
        }
        let source_fd = plan.ground.source_fd.try_clone().map_err(Failure::other)?;
        let vfs = Vfs::new(Options {
            source: plan.ground.source.clone(),
            source_fd: Some(source_fd),
            mountpoint: plan.ground.mountpoint.clone(),
            io: IoMode::Auto,
            ..Options::default()
        })
        .map_err(Failure::other)?;
        let mounted = fuse::serve(&vfs, Arc::new(Blind)).map_err(Failure::other)?;
        let status = Box::new(status(&plan));
        Ok(Arc::new(Served {
            handler: Arc::new(Answers(status)),
            mounted,
            plan: Mutex::new(Some(plan)),
        }))
    }
}

struct Served {
    handler: Arc<Answers>,
    mounted: vfs::Mounted,
    /// Holds the lock and the descriptor behind the mount, until it is stopped: `umount` returns then, and the next mount may begin.
    plan: Mutex<Option<Plan>>,
}

impl Mounted for Served {
    fn handler(&self) -> Arc<dyn Handler> {
        Arc::clone(&self.handler) as Arc<dyn Handler>
    }
    fn refuse_opens(&self, refuse: bool) {
        self.mounted.vfs().refuse_new_opens(refuse);
    }
    fn writers(&self) -> Vec<Writer> {
        let open = self.mounted.vfs().open_handles().into_iter();
        open.filter(|h| h.writable)
            .map(|h| Writer {
                path: h.path,
                pid: h.opener.0,
            })
            .collect()
    }
    fn drain(&self, _: Duration) -> Drained {
        Drained::default()
    }
    fn wait(&self) {
        // However it ended, it ended.
        let _ = self.mounted.wait();
    }
    fn stop(&self) {
        let _ = self.mounted.unmount(true);
        self.plan.lock().expect("nobody panics with it").take();
    }
}

struct Answers(Box<Status>);

impl Handler for Answers {
    fn answer(
        &self,
        _: Peer,
        _: Ask,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()> {
        say(Say::Status(self.0.clone()))
    }
}

fn status(plan: &Plan) -> Status {
    Status {
        version: "test".into(),
        pid: std::process::id(),
        source: plan.ground.source.as_path().into(),
        mountpoint: plan.ground.mountpoint.as_path().into(),
        state: plan.ground.state.as_path().into(),
        node_state: plan.lock.dir().into(),
        socket: plan.socket.as_path().into(),
        node: plan.lock.node(),
        instance: InstanceId([0; 16]),
        io: "auto".into(),
        io_reason: String::new(),
        read_only: plan.ground.read_only,
        hardware: "none".into(),
        log: None,
        evidence: None,
        authority: Sha256([0; 32]),
        mounted_at: String::new(),
        open: 0,
        pending: 0,
        sealed: 0,
        behind: 0,
        warnings: plan.ground.warnings.clone(),
    }
}

struct Blind;

impl Observer for Blind {
    fn before_change(&self, _: FileKey, _: bool) {}
    fn opened(&self, _: &Opened<'_>) {}
    fn read(&self, _: HandleId, _: u64, _: &[u8]) {}
    fn wrote(&self, _: HandleId, _: u64, _: &[u8]) {}
    fn flushed(&self, _: HandleId, _: Caller, _: &FileIdentity) {}
    fn released(&self, _: HandleId, _: Option<&FileIdentity>) {}
    fn changed(&self, _: FileKey, _: Option<HandleId>, _: &Path, _: Change, _: Caller) {}
    fn copied(&self, _: HandleId, _: HandleId, _: Caller) {}
    fn renamed(&self, _: &Path, _: &Path, _: Option<FileKey>, _: Caller) {}
    fn exchanged(&self, _: &Path, _: &Path, _: Caller) {}
    fn linked(&self, _: FileKey, _: &Path) {}
    fn unlinked(&self, _: FileKey, _: &Path, _: bool, _: Caller) {}
    fn attribute(&self, _: FileKey, _: &[u8], _: Caller) -> Option<Result<Vec<u8>, Errno>> {
        None
    }
    fn virtual_file(&self, _: &Path, _: Caller) -> Option<Result<Vec<u8>, Errno>> {
        None
    }
    fn virtual_write(&self, _: &Path, _: &[u8], _: Caller) -> Result<(), Errno> {
        Err(Errno::ACCESS)
    }
}

/// A path as text, for arguments and messages.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
