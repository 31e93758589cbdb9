//! Makes a directory ready: its state, its configuration, the authority, and the pin that makes `verify` trust it. `init`, and `mount` on first use.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use atlas_manifests::authority::Authority;
use atlas_manifests::layout::{Layout, LayoutError};
use atlas_manifests::trust;

use super::checks::open_dir;
use super::places::{Sites, planned};
use crate::config::Config;
use crate::failure::{Failure, shown};
use crate::options::InitOptions;

/// An existing, readable SOURCE.
pub(super) struct Source {
    /// Canonical.
    pub(super) path: PathBuf,
    /// Open.
    pub(super) fd: OwnedFd,
}

/// Finds and opens SOURCE.
pub(super) fn source(path: &Path) -> Result<Source, Failure> {
    let wrong = |e: &io::Error| {
        let path = shown(path);
        Failure::other(match e.kind() {
            io::ErrorKind::NotFound => {
                format!("{path}: the source directory does not exist: make it, or correct the name")
            }
            io::ErrorKind::NotADirectory => {
                format!(
                    "{path}: the source is not a directory: name the directory that holds the data"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!(
                    "{path}: the source cannot be read by this user: give it r-x, or mount as its owner"
                )
            }
            _ => format!("{path}: the source cannot be used: {e}"),
        })
    };
    let canonical = fs::canonicalize(path).map_err(|e| wrong(&e))?;
    let fd = open_dir(&canonical).map_err(|e| wrong(&e))?;
    Ok(Source {
        path: canonical,
        fd,
    })
}

/// Where the authority's key lies: as told, else `/var/lib/atlas/authority` for root and `~/.local/share/atlas/authority` for users.
///
/// # Errors
/// When a user has no home.
pub fn authority_dir(told: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = told {
        return Ok(dir.to_owned());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/atlas/authority"));
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|h| h.join(".local/share")))
        .map(|d| d.join("atlas/authority"))
        .ok_or_else(|| {
            Failure::other("HOME is not set: say where the authority lies (--authority DIR)")
        })
}

/// Where new authorities are pinned: `/etc/atlas/trust` for root, else the user's own place.
///
/// # Errors
/// When a user has no home.
pub fn trust_dir() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(trust::SYSTEM_DIR));
    }
    trust::user_dir()
        .ok_or_else(|| Failure::other("HOME is not set: there is no place to pin the authority in"))
}

/// What is to be made ready.
pub struct Wanted<'a> {
    /// State directory, as it can be reached while mounted.
    pub state: &'a Path,
    /// The same as people name it.
    pub state_named: &'a Path,
    /// Holds the nodes, when not below the state.
    pub node_state: Option<&'a Path>,
    /// The authority's directory.
    pub authority: &'a Path,
    /// Where a new authority is pinned.
    pub trust: &'a Path,
    /// Pin an authority that is not new too (`init`). `mount` does not: somebody may have taken the pin away on purpose.
    pub pin: bool,
}

/// A directory that is ready.
pub struct Ready {
    /// Its state.
    pub layout: Layout,
    /// What is sealed.
    pub config: Config,
    /// Who vouches for this machine's seals.
    pub authority: Authority,
}

/// Makes ready what is not, and says each thing it does. Doing it again changes nothing.
///
/// # Errors
/// What could not be made or read. What was made before stays, and is found the next time.
pub fn make_ready(wanted: &Wanted<'_>, say: &mut dyn FnMut(&str)) -> Result<Ready, Failure> {
    let layout = layout(wanted, say)?;
    if Config::write_default(&layout.config()).map_err(Failure::other)? {
        say(&format!(
            "wrote the default configuration {}",
            shown(&wanted.state_named.join("config.toml"))
        ));
    }
    let config = Config::load(&layout.config()).map_err(Failure::other)?;
    let authority = authority(wanted, say)?;
    let copy = layout.authority_copy();
    let pem = authority.certificate_pem();
    if fs::read(&copy).ok().as_deref() != Some(pem.as_bytes()) {
        replace(&copy, pem.as_bytes())
            .map_err(|e| Failure::other(format!("{}: {e}", shown(&copy))))?;
    }
    Ok(Ready {
        layout,
        config,
        authority,
    })
}

fn layout(wanted: &Wanted<'_>, say: &mut dyn FnMut(&str)) -> Result<Layout, Failure> {
    match Layout::open(wanted.state, wanted.node_state) {
        Ok(layout) => return Ok(layout),
        Err(LayoutError::Missing { .. }) => {}
        Err(e) => return Err(Failure::other(e)),
    }
    let layout = Layout::create(wanted.state, wanted.node_state).map_err(|e| match e {
        LayoutError::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            Failure::other(format!(
                "{}: the state cannot be made ({source}): name a writable directory with --state DIR",
                shown(wanted.state_named)
            ))
        }
        other => Failure::other(other),
    })?;
    say(&format!("made the state {}", shown(wanted.state_named)));
    Ok(layout)
}

fn authority(wanted: &Wanted<'_>, say: &mut dyn FnMut(&str)) -> Result<Authority, Failure> {
    let known = Authority::open(wanted.authority).map_err(Failure::other)?;
    let (authority, new) = match known {
        Some(authority) => (authority, false),
        None => {
            let made = Authority::create(wanted.authority).map_err(Failure::other)?;
            say(&format!(
                "made an authority in {}: its certificate is {}",
                shown(wanted.authority),
                made.fingerprint()
            ));
            (made, true)
        }
    };
    let anchors = trust::Anchors::load(&[wanted.trust.to_owned()], &[]).map_err(Failure::other)?;
    let pinned = anchors
        .anchors
        .iter()
        .any(|a| a.fingerprint == authority.fingerprint());
    if pinned {
        return Ok(authority);
    }
    if new || wanted.pin {
        trust::add_pem(
            wanted.trust,
            &wanted.authority.join("authority.pem"),
            authority.certificate_pem(),
        )
        .map_err(Failure::other)?;
        say(&format!(
            "pinned its certificate in {}",
            shown(wanted.trust)
        ));
    } else {
        say(&format!(
            "warning: the authority in {} is not pinned in {}, so `verify` here will not trust it; `atlas-fs init` pins it",
            shown(wanted.authority),
            shown(wanted.trust)
        ));
    }
    Ok(authority)
}

/// Writes a file whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// `atlas-fs init SOURCE`.
///
/// # Errors
/// What stands in the way.
pub fn init(options: &InitOptions, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let source = source(&options.source)?;
    let resolve =
        |path: &Path| planned(path).map_err(|e| Failure::other(format!("{}: {e}", shown(path))));
    let state = match &options.place.state {
        Some(state) => resolve(state)?,
        None => source.path.join(".atlas"),
    };
    let node_state = options
        .place
        .node_state
        .as_deref()
        .map(resolve)
        .transpose()?;
    let authority = resolve(&authority_dir(options.place.authority.as_deref())?)?;
    Sites {
        source: &source.path,
        mountpoint: None,
        state: &state,
        node_state: node_state.as_deref(),
        authority: &authority,
        log_file: None,
    }
    .check()?;
    let mut said = false;
    make_ready(
        &Wanted {
            state: &state,
            state_named: &state,
            node_state: node_state.as_deref(),
            authority: &authority,
            trust: &trust_dir()?,
            pin: true,
        },
        &mut |text| {
            said = true;
            say(text);
        },
    )?;
    if !said {
        say(&format!("{} is ready already", shown(&source.path)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(top: &Path, pin: bool) -> (Result<Ready, Failure>, Vec<String>) {
        let mut said = Vec::new();
        let done = make_ready(
            &Wanted {
                state: &top.join("s/.atlas"),
                state_named: &top.join("s/.atlas"),
                node_state: None,
                authority: &top.join("authority"),
                trust: &top.join("trust"),
                pin,
            },
            &mut |text| said.push(text.to_owned()),
        );
        (done, said)
    }

    #[test]
    fn the_first_time_says_each_thing_and_the_second_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("s")).unwrap();
        let (first, said) = ready(dir.path(), false);
        let first = first.unwrap();
        assert_eq!(said.len(), 4, "{said:?}");
        let (second, said) = ready(dir.path(), false);
        let second = second.unwrap();
        assert_eq!(said, [""; 0]);
        assert_eq!(
            first.authority.fingerprint(),
            second.authority.fingerprint()
        );
        assert_eq!(first.config, Config::default());
        let pinned = trust::Anchors::load(&[dir.path().join("trust")], &[]).unwrap();
        assert_eq!(pinned.anchors[0].fingerprint, first.authority.fingerprint());
        let copy = fs::read_to_string(dir.path().join("s/.atlas/authority.pem")).unwrap();
        assert_eq!(copy, first.authority.certificate_pem());
    }

    #[test]
    fn a_pin_that_somebody_took_away_comes_back_by_init_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("s")).unwrap();
        ready(dir.path(), false).0.unwrap();
        fs::remove_dir_all(dir.path().join("trust")).unwrap();
        let (_, said) = ready(dir.path(), false);
        assert!(said[0].contains("not pinned"), "{said:?}");
        let (_, said) = ready(dir.path(), true);
        assert!(said[0].contains("pinned its certificate"), "{said:?}");
        assert_eq!(ready(dir.path(), true).1, [""; 0]);
    }

    #[test]
    fn state_of_an_unknown_format_and_a_broken_configuration_are_left_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("s/.atlas");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("FORMAT"), "atlas 99\n").unwrap();
        let (done, said) = ready(dir.path(), true);
        assert!(done.is_err_and(|e| e.to_string().contains("atlas 99")));
        assert_eq!(said, [""; 0]);
        fs::write(state.join("FORMAT"), "atlas 1\n").unwrap();
        fs::write(state.join("config.toml"), "[seal]\nexclude = 7\n").unwrap();
        let (done, _) = ready(dir.path(), true);
        assert!(done.is_err_and(|e| e.to_string().contains("config.toml:2: ")));
        assert!(!dir.path().join("authority").exists());
    }
}
