//! What answers questions about a place: a daemon, a state directory, a mount whose daemon is out of reach, or nothing. Not the questions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use atlas_manifests::bundle::Bundle;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::history::History;
use atlas_manifests::index::{Index, IndexError};
use atlas_manifests::layout::Layout;
use atlas_manifests::scan::StoreScan;
use atlas_manifests::shelf::{Catalogue, Object, Shelf, ShelfError};
use atlas_manifests::store::Store;

use crate::cli::Global;
use crate::client::Client;
use crate::exit::Failure;
use crate::place::{self, Located, Place};
use crate::view::out;

/// No manifest served by a mount is larger, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// Where questions go.
pub(crate) enum Evidence {
    /// To the daemon.
    Daemon(Client),
    /// To the state directory itself: its store, and the index or what stands for it.
    State {
        /// Immutable objects.
        store: Store,
        /// Rows.
        rows: Box<dyn Catalogue>,
    },
    /// To an exported bundle, and nowhere else.
    Bundle(Box<Bundle>, Box<StoreScan>),
    /// To the mount's `.atlas/by-digest`, because the daemon's socket is out of reach: manifests, and no rows.
    Mount(ByDigest, History),
    /// Nowhere: what is not known cannot be found.
    Nothing(History),
}

impl Evidence {
    /// What is known of this place; an explicit `--state` comes first.
    pub(crate) fn at(located: &Located, global: &Global) -> Result<Self, Failure> {
        if let Some(state) = &global.state {
            return Self::of_state(state, global);
        }
        match &located.place {
            Place::Live { status, root, .. } => {
                Ok(match Client::connect(status.socket.as_path()) {
                    Ok(client) => Self::Daemon(client.with_logs(status)),
                    Err(_) => Self::Mount(ByDigest::new(root), History::new()),
                })
            }
            Place::Backing { state, .. } => Self::of_state(state, global),
            Place::Loose => Ok(Self::Nothing(History::new())),
        }
    }

    /// What is known when no path is given: by the place of the working directory, else by the only daemon there is.
    pub(crate) fn here(global: &Global) -> Result<Self, Failure> {
        let located = place::locate(Path::new("."))?;
        match Self::at(&located, global)? {
            Self::Nothing(none) => {
                let mut all = place::daemons();
                Ok(match (all.pop(), all.is_empty()) {
                    (Some((client, status)), true) => Self::Daemon(client.with_logs(&status)),
                    _ => Self::Nothing(none),
                })
            }
            found => Ok(found),
        }
    }

    /// The daemon that has this state in use, else the state itself.
    fn of_state(state: &Path, global: &Global) -> Result<Self, Failure> {
        let layout = Layout::open(state, global.node_state.as_deref())
            .map_err(|e| Failure::error(e.to_string()))?;
        let canonical = fs::canonicalize(state).map_err(|e| Failure::io(state.display(), &e))?;
        let owner = place::daemons()
            .into_iter()
            .find(|(_, s)| s.state.as_path() == canonical);
        if let Some((client, status)) = owner {
            return Ok(Self::Daemon(client.with_logs(&status)));
        }
        let store = Store::open(&layout);
        let rows = rows(&layout, &store)?;
        Ok(Self::State { store, rows })
    }

    /// Immutable objects.
    pub(crate) fn shelf(&self) -> &dyn Shelf {
        match self {
            Self::Daemon(client) => client,
            Self::State { store, .. } => store,
            Self::Bundle(bundle, _) => bundle.as_ref(),
            Self::Mount(shelf, _) => shelf,
            Self::Nothing(_) => &Empty,
        }
    }

    /// Rows.
    pub(crate) fn rows(&self) -> &dyn Catalogue {
        match self {
            Self::Daemon(client) => client,
            Self::State { rows, .. } => rows.as_ref(),
            Self::Bundle(_, rows) => rows.as_ref(),
            Self::Mount(_, none) | Self::Nothing(none) => none,
        }
    }
}

/// The index when it is there and nobody has it open, else what the store itself says.
fn rows(layout: &Layout, store: &Store) -> Result<Box<dyn Catalogue>, Failure> {
    // Only one node's index is looked at: where several nodes share the store, none of them knows all of it.
    if let Ok([node]) = layout.nodes().as_deref() {
        match Index::open_read_only(&layout.index(*node)) {
            Ok(index) => return Ok(Box::new(index)),
            // No node has been here yet, or the index is not for us to read: it is a cache.
            Err(IndexError::Io { .. } | IndexError::Locked { .. }) => {}
            Err(e @ (IndexError::Damaged { .. } | IndexError::Unclosed(_))) => {
                out::say(&format!("Using the store alone: {e}"));
            }
            Err(e) => return Err(Failure::error(e.to_string())),
        }
    }
    Ok(Box::new(StoreScan::open(store)?))
}

/// Nothing at all.
struct Empty;

impl Shelf for Empty {
    fn object(&self, _: Object, _: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(None)
    }

    fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        Ok(Vec::new())
    }
}

/// `MOUNT/.atlas/by-digest/<hex>.c2pa` as a shelf: finds manifests by their content's digest, and then by their own.
pub(crate) struct ByDigest {
    dir: PathBuf,
    seen: RefCell<HashMap<Sha256, Vec<u8>>>,
}

impl ByDigest {
    fn new(root: &Path) -> Self {
        Self {
            dir: root.join(".atlas/by-digest"),
            seen: RefCell::default(),
        }
    }

    fn read(&self, hex: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        let path = self.dir.join(format!("{hex}.c2pa"));
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            fs::File::open(&path)?
                .take(MAX_MANIFEST)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ShelfError::Io {
                what: path.display().to_string(),
                source,
            }),
        }
    }
}

impl Shelf for ByDigest {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        if kind != Object::Manifest {
            return Ok(None);
        }
        if let Some(bytes) = self.seen.borrow().get(name) {
            return Ok(Some(bytes.clone()));
        }
        self.read(&name.hex())
    }

    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        let Some(bytes) = self.read(&asset.blake3.hex())? else {
            return Ok(Vec::new());
        };
        let name = Sha256::of(&bytes);
        self.seen.borrow_mut().insert(name, bytes);
        Ok(vec![name])
    }
}
