//! Where the engine meets the transparency log: what it begins with, what becomes a leaf, what `sealed` and `logged` mean. Not the log: `logbook`.

use std::sync::{Arc, Weak};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::LogHead;
use atlas_manifests::id::{InstanceId, NodeRef, VersionId};
use atlas_manifests::index::Index;
use atlas_manifests::log::leaf::{Reason, Revoked};
use atlas_manifests::log::state::published;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::shelf::Catalogue as _;
use atlas_manifests::vocabulary::State;
use atlas_manifests::wire::{LogStatus, Say};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use super::answers::error;
use super::journal::Record;
use super::scribe::Signed;
use super::{Engine, StartOptions, Work};
use crate::attest::head::LogSource;
use crate::logbook::{Entry, Ground, Logbook, News};

/// Opens the node's log.
pub(super) fn open(options: &StartOptions) -> Result<Arc<Logbook>, String> {
    let dir = options.layout.log(options.node);
    let named = options
        .node_state
        .join(options.node.to_string())
        .join("log");
    let ground = Ground {
        dir: &dir,
        named: &named,
        node: options.node,
        authority: &options.authority,
        authority_dir: &options.authority_dir,
    };
    Logbook::open(&ground, &options.log)
}

/// These are stored, in this order. What an earlier life signed may be in the log already.
pub(super) fn stored(engine: &Engine, stored: &mut [Signed]) {
    let entry = |s: &Signed| Entry {
        version: s.version,
        manifest: s.reference.sha256,
        instance: s.instance,
        inputs: s.row.run.zip(s.row.input_set),
        earlier: s.objects.is_empty(),
        waited: false,
    };
    engine.log.log(stored.iter().map(entry).collect());
    for s in stored {
        if !engine.log.is_waiting(s.version) {
            s.row.state = State::Logged;
        }
    }
}

/// A version that came into the log late needs no journal any more.
pub(super) fn settled(engine: &Engine, row: &VersionRow) {
    if let (NodeRef::Version(version), Some(manifest)) = (row.node, row.manifest) {
        engine.journal(&Record::Settled {
            version,
            manifest: manifest.sha256,
        });
    }
}

/// A row whose manifest is in the log.
pub(super) fn logged(mut row: VersionRow) -> VersionRow {
    if row.state == State::Sealed {
        row.state = State::Logged;
    }
    row
}

/// The rows of versions that came into the log after they were sealed.
pub(super) fn late(index: &Index, versions: &[VersionId]) -> Vec<VersionRow> {
    let nodes: Vec<NodeRef> = versions.iter().map(|v| NodeRef::Version(*v)).collect();
    let rows = index.versions(&nodes).unwrap_or_default();
    rows.into_iter().flatten().map(logged).collect()
}

/// A state as people are shown it: the ledger knows what is sealed, the index what is logged.
pub(super) fn state(engine: &Engine, node: NodeRef, state: State) -> State {
    if state != State::Sealed {
        return state;
    }
    let known = engine.index.versions(&[node]).ok();
    let row = known.and_then(|mut rows| rows.pop().flatten());
    row.filter(|r| r.state == State::Logged)
        .map_or(state, |r| r.state)
}

impl Engine {
    /// The instance begins in the log, and hears of it.
    pub(super) fn begin_log(self: &Arc<Self>, seal_key: &[u8; 32]) -> Result<(), String> {
        let hardware = self.keeper.as_ref().map(|k| (k.first(), k.log_key()));
        let weak: Weak<Self> = Arc::downgrade(self);
        self.log.tell(Box::new(move |news| match news {
            News::Logged(versions) => {
                if let Some(engine) = weak.upgrade() {
                    let _ = engine.scribe.send(Work::Logged(versions));
                }
            }
            // As if somebody had asked for it: files are closed and names detached in the usual order.
            News::Refused(_) => {
                if let Err(e) = kill_process(getpid(), Signal::TERM) {
                    tracing::error!("the daemon could not stop itself: {e}");
                }
            }
        }));
        self.log.begin(self.options.instance, seal_key, hardware)
    }

    /// `atlasctl log revoke`.
    pub(super) fn revoke(
        &self,
        manifest: Option<Sha256>,
        instance: Option<InstanceId>,
        reason: &str,
    ) -> Say {
        let what = match (manifest, instance) {
            (Some(manifest), None) => Revoked::Manifest(manifest),
            (None, Some(instance)) => Revoked::Instance(instance),
            _ => return error(2, "name a manifest, or an instance"),
        };
        let Some(reason) = Reason::ALL.into_iter().find(|r| r.as_str() == reason) else {
            let known = Reason::ALL.map(Reason::as_str).join(", ");
            return error(2, format!("{reason:?} is no reason: one of {known}"));
        };
        if what == Revoked::Instance(self.options.instance) {
            return error(
                2,
                "is the life of the daemon that runs now: what it seals from here on would be void; unmount first",
            );
        }
        match self.log.revoke(what, reason) {
            Ok(()) => Say::Done,
            Err(why) => error(1, why),
        }
    }

    /// A file of the node's log, for readers that cannot reach the state: it may lie below the mount.
    pub(super) fn log_file(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let name = name.strip_prefix(b"log/").map(std::str::from_utf8);
        let Some(Ok(name)) = name else {
            return Ok(None);
        };
        let Some(file) = published(name) else {
            return Ok(None);
        };
        let dir = self.options.layout.log(self.options.node);
        match std::fs::read(dir.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        }
    }

    /// For `status`.
    pub(super) fn log_status(&self) -> (LogStatus, Vec<String>) {
        let standing = self.log.standing();
        let status = LogStatus {
            origin: standing.head.origin,
            size: standing.head.head.size,
            root: standing.head.head.root,
            waiting: standing.waiting,
            witnesses: standing.circulation.witnesses,
            public: standing.circulation.public,
        };
        (status, standing.troubles)
    }
}

impl LogSource for Logbook {
    fn head(&self) -> Option<LogHead> {
        Self::head(self)
    }

    fn head_with_all(&self) -> Option<LogHead> {
        Self::head_with_all(self)
    }
}
