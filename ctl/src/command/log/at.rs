//! Where a log is: a directory, a URL, or the log of the node that a path belongs to. Not what it says.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atlas_manifests::given::{self, GivenError};
use atlas_manifests::layout::Layout;
use atlas_manifests::log::note::VerifierKey;
use atlas_manifests::log::operator::{MAX_CERTIFICATE, certified};
use atlas_manifests::log::reader::{Directory, Source, SourceError};
use atlas_manifests::log::state::{CERTIFICATE, KEYS};
use atlas_manifests::log::tile::Resource;
use atlas_manifests::trust::{self, Anchors};
use atlas_net::http::Http;
use atlas_net::remote::Remote;

use crate::cli::Global;
use crate::exit::{Code, Failure};
use crate::place::{self, Place};

/// How long one file of a log may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// No list of keys is longer, in bytes.
const MAX_KEYS: u64 = 1 << 20;

/// A log.
pub(super) enum At {
    /// On this machine.
    Dir(Directory),
    /// Served by somebody.
    Url(Remote),
}

impl At {
    /// The log that is meant; the one of the working directory unless anything is named.
    pub(super) fn find(asked: Option<&OsStr>, global: &Global) -> Result<Self, Failure> {
        if let Some(url) = asked.and_then(OsStr::to_str).filter(|t| is_url(t)) {
            return Ok(Self::Url(Remote::new(Http::new(PATIENCE), url)));
        }
        Self::dir(asked, global).map(Self::Dir)
    }

    /// The directory of the log that is meant.
    pub(super) fn dir(asked: Option<&OsStr>, global: &Global) -> Result<Directory, Failure> {
        if let Some(path) = asked.map(Path::new).filter(|p| is_log(p)) {
            return Ok(Directory::new(path));
        }
        let path = asked.map_or(Path::new("."), Path::new);
        if asked.is_none()
            && let Some(state) = &global.state
        {
            return of_state(state, global).map(Directory::new);
        }
        match place::locate(path)?.place {
            Place::Live { status, .. } => {
                let shown = status.mountpoint.as_path().join(".atlas/log");
                Ok(Directory::flat(shown))
            }
            Place::Backing { state, .. } => of_state(&state, global).map(Directory::new),
            Place::Loose => Err(Failure::new(
                Code::NO_MANIFEST,
                format!(
                    "{}: is no log, and not below a mount or a directory with state: name a log's directory or URL",
                    path.display()
                ),
            )),
        }
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Dir(dir) => dir.path().display().to_string(),
            Self::Url(remote) => remote.url().to_owned(),
        }
    }

    /// The log's own key, when an authority that is pinned here certified it; `None`: nobody who is trusted vouches for one.
    pub(super) fn certified(&self) -> Result<Option<VerifierKey>, Failure> {
        let bytes = match self {
            Self::Dir(dir) => given::read(&dir.file(CERTIFICATE), MAX_CERTIFICATE).ok(),
            Self::Url(remote) => remote
                .certificate()
                .map_err(|e| Failure::error(e.to_string()))?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let anchors = Anchors::load(&trust::default_dirs(), &[])
            .map_err(|e| Failure::error(e.to_string()))?;
        Ok(certified(&bytes, &anchors).ok().map(|log| log.key))
    }

    /// The keys that the log names, its own first. Nobody vouches for them; lines that are none are passed over.
    pub(super) fn keys(&self) -> Result<Vec<VerifierKey>, Failure> {
        let bytes = match self {
            Self::Dir(dir) => match given::read(&dir.file(KEYS), MAX_KEYS) {
                Ok(bytes) => Some(bytes),
                Err(GivenError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => None,
                Err(e) => return Err(Failure::error(format!("{}: keys: {e}", self.name()))),
            },
            Self::Url(remote) => remote.keys().map_err(|e| Failure::error(e.to_string()))?,
        };
        let text = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
        Ok(text.lines().filter_map(|l| l.parse().ok()).collect())
    }
}

impl Source for At {
    fn get(&self, resource: &Resource) -> Result<Option<Vec<u8>>, SourceError> {
        match self {
            Self::Dir(dir) => dir.get(resource),
            Self::Url(remote) => remote.get(resource),
        }
    }
}

/// Whether a word is an address.
pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn is_log(path: &Path) -> bool {
    path.join("checkpoint").is_file() || path.join("tile").is_dir()
}

/// The log of this machine's node, else of the only node there is.
fn of_state(state: &Path, global: &Global) -> Result<PathBuf, Failure> {
    let wrong = |e: atlas_manifests::layout::LayoutError| Failure::error(e.to_string());
    let layout = Layout::open(state, global.node_state.as_deref()).map_err(wrong)?;
    if let Some(node) = layout.own_node().map_err(wrong)? {
        return Ok(layout.log(node));
    }
    match layout.nodes().map_err(wrong)?.as_slice() {
        [node] => Ok(layout.log(*node)),
        [] => Err(Failure::new(
            Code::NO_MANIFEST,
            format!("{}: no node has a log here", state.display()),
        )),
        _ => Err(Failure::new(
            Code::USAGE,
            format!(
                "{}: several nodes have logs here, and none is this machine's: name one of {}/*/log",
                state.display(),
                layout.node_state.display()
            ),
        )),
    }
}
