//! `atlasctl doctor`: what may be wrong with this machine or a state directory, and how to mend it. Changes nothing but with `--rebuild`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use atlas_manifests::digest::Sha256;
use atlas_manifests::index::{Index, IndexError};
use atlas_manifests::layout::Layout;
use atlas_manifests::shelf::{Catalogue as _, Object, Shelf as _};
use atlas_manifests::store::Store;
use atlas_manifests::trust::{self, Anchors};
use atlas_manifests::wire::Status;
use serde::Serialize;

use crate::cli::{DoctorArgs, Global};
use crate::exit::{Code, Failure};
use crate::place::{self, Place};
use crate::view::amount;
use crate::view::escape;
use crate::view::out::Out;
use crate::view::paint::Paint;
use crate::view::progress::Progress;

/// Without `--full` so many objects of each kind are hashed again, evenly spread.
const SAMPLE: usize = 200;
const MANIFESTS: &str = "manifests";
const RESTORE: &str = "restore the state directory from a copy";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    health: Health,
    what: &'static str,
    text: String,
    remedy: &'static str,
}

#[derive(Serialize)]
struct Document<'a> {
    health: Health,
    findings: &'a [Finding],
}

impl Finding {
    fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self {
            health: Health::Ok,
            what,
            text: text.into(),
            remedy: "",
        }
    }

    fn warn(what: &'static str, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            health: Health::Warn,
            what,
            text: text.into(),
            remedy,
        }
    }

    fn fail(what: &'static str, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            health: Health::Fail,
            what,
            text: text.into(),
            remedy,
        }
    }
}

/// Looks at everything and says each result; code 1 when something fails.
pub(crate) fn doctor(args: &DoctorArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let patient = patient(args, global)?;
    let layout = match &patient {
        Patient::State(layout) => Some(layout.as_ref()),
        Patient::Mounted(_) | Patient::Nothing => None,
    };
    let mut findings = vec![fuse(), kernel(), capabilities(), clock(), anchors(layout)];
    match &patient {
        Patient::State(layout) => {
            if args.rebuild {
                findings.push(rebuild(layout)?);
            }
            look_at(layout, args.full, &mut findings);
        }
        Patient::Mounted(status) if args.rebuild => {
            return Err(Failure::error(format!(
                "doctor: process {} has the state in use: unmount first, with atlas-fs umount {}",
                status.pid,
                status.mountpoint.lossy()
            )));
        }
        Patient::Mounted(status) => ask(status, &mut findings),
        Patient::Nothing if args.rebuild => {
            return Err(Failure::error(
                "doctor: no state directory here to rebuild: name the backing directory, or --state",
            ));
        }
        Patient::Nothing => findings.push(Finding::warn(
            "state",
            "no state directory here",
            "name a backing directory, or --state",
        )),
    }
    let health = findings
        .iter()
        .map(|f| f.health)
        .max()
        .unwrap_or(Health::Ok);
    if global.json {
        out.json(&Document {
            health,
            findings: &findings,
        })?;
    } else {
        for finding in &findings {
            out.text(&line(finding, out.paint))?;
        }
    }
    Ok(if health == Health::Fail {
        Code::ERROR
    } else {
        Code::OK
    })
}

fn line(f: &Finding, paint: Paint) -> String {
    let word = match f.health {
        Health::Ok => paint.good("ok  "),
        Health::Warn => paint.warn("warn"),
        Health::Fail => paint.bad("fail"),
    };
    let remedy = if f.remedy.is_empty() {
        String::new()
    } else {
        format!(": {}", f.remedy)
    };
    format!("{word}  {:<12} {}{remedy}\n", f.what, escape::line(&f.text))
}

/// What is looked at besides the machine.
enum Patient {
    /// A state directory that can be reached.
    State(Box<Layout>),
    /// One that lies behind a live mount: nobody reaches it there, and its daemon is asked instead.
    Mounted(Box<Status>),
    /// None.
    Nothing,
}

fn patient(args: &DoctorArgs, global: &Global) -> Result<Patient, Failure> {
    let state = match &global.state {
        Some(state) => state.clone(),
        None => match place::locate(args.at.as_deref().unwrap_or(Path::new(".")))?.place {
            Place::Live { status, root, .. } => {
                let state = status.state.as_path().to_owned();
                if state.starts_with(root) {
                    return Ok(Patient::Mounted(status));
                }
                state
            }
            Place::Backing { state, .. } => state,
            Place::Loose => return Ok(Patient::Nothing),
        },
    };
    let opened = Layout::open(&state, global.node_state.as_deref());
    let layout = opened.map_err(|e| Failure::error(e.to_string()))?;
    Ok(Patient::State(Box::new(layout)))
}

fn ask(status: &Status, findings: &mut Vec<Finding>) {
    const WHAT: &str = "daemon";
    let text = format!(
        "process {} has mounted it in place: {} sealed, {} pending",
        status.pid,
        amount::count(status.sealed),
        amount::count(status.pending)
    );
    findings.push(Finding::ok(WHAT, text));
    let warned = status.warnings.iter();
    findings.extend(warned.map(|text| Finding::warn(WHAT, text.as_str(), "see its log")));
    let text = "the state lies behind the mount, so its index and its store were not looked at";
    let remedy = "look again when it is unmounted";
    findings.push(Finding::warn("state", text, remedy));
}

fn fuse() -> Finding {
    const WHAT: &str = "fuse";
    match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
    {
        Ok(_) => Finding::ok(WHAT, "/dev/fuse can be opened"),
        Err(e) => {
            let text = format!("/dev/fuse: {}", crate::exit::reason(&e));
            Finding::warn(
                WHAT,
                text,
                "load the fuse module (modprobe fuse), or give the container the device; verifying needs neither",
            )
        }
    }
}

fn kernel() -> Finding {
    const WHAT: &str = "kernel";
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 9) {
        Finding::ok(WHAT, format!("{release} has FUSE passthrough"))
    } else {
        Finding::warn(
            WHAT,
            format!("{release} has no FUSE passthrough"),
            "use Linux 6.9 or later for native speed; inline I/O works",
        )
    }
}

fn capabilities() -> Finding {
    const WHAT: &str = "capability";
    /// `CAP_SYS_ADMIN` of linux/capability.h.
    const SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    if effective >> SYS_ADMIN & 1 == 1 {
        Finding::ok(WHAT, "CAP_SYS_ADMIN: mounts may use passthrough")
    } else {
        Finding::warn(
            WHAT,
            "no CAP_SYS_ADMIN: mounts use inline I/O",
            "mount as root for native speed",
        )
    }
}

fn clock() -> Finding {
    const WHAT: &str = "clock";
    /// A certificate of ours is never older than the program that made it: 2026-01-01.
    const EARLIEST: i64 = 1_767_225_600;
    let now = jiff::Timestamp::now();
    if now.as_second() < EARLIEST {
        Finding::fail(
            WHAT,
            format!("the clock says {now}"),
            "set it: certificates are judged by it",
        )
    } else {
        Finding::ok(WHAT, now.to_string())
    }
}

fn anchors(layout: Option<&Layout>) -> Finding {
    const WHAT: &str = "authority";
    const ADD: &str = "pin the authority with atlasctl trust add, from a place other than the data";
    let pinned = match Anchors::load(&trust::default_dirs(), &[]) {
        Ok(anchors) => anchors.anchors,
        Err(e) => return Finding::fail(WHAT, e.to_string(), "remove that file, or replace it"),
    };
    let copy = layout.and_then(|l| Anchors::load(&[], &[l.authority_copy()]).ok());
    match copy.as_ref().and_then(|c| c.anchors.first()) {
        Some(own) if pinned.iter().any(|a| a.fingerprint == own.fingerprint) => {
            Finding::ok(WHAT, format!("{} is pinned", own.fingerprint))
        }
        Some(own) => Finding::warn(WHAT, format!("{} is not pinned here", own.fingerprint), ADD),
        None if pinned.is_empty() => Finding::warn(WHAT, "none is pinned", ADD),
        None => Finding::ok(
            WHAT,
            format!(
                "{} pinned",
                amount::counted(pinned.len() as u64, "authority", "authorities")
            ),
        ),
    }
}

fn look_at(layout: &Layout, full: bool, findings: &mut Vec<Finding>) {
    findings.push(Finding::ok("format", "atlas 1"));
    match layout.nodes() {
        Ok(nodes) if nodes.is_empty() => {
            findings.push(Finding::ok("index", "no node has written here yet"));
        }
        Ok(nodes) => {
            for node in nodes {
                if let Some(pid) = layout.holder(node) {
                    findings.push(Finding::ok(
                        "daemon",
                        format!("process {pid} has node {node} in use"),
                    ));
                } else {
                    let path = layout.index(node);
                    findings.push(index(&path));
                    findings.extend(lost(&path, &Store::open(layout)));
                }
            }
        }
        Err(e) => findings.push(Finding::fail(
            "nodes",
            e.to_string(),
            "check that the state directory can be read",
        )),
    }
    let store = Store::open(layout);
    for (what, kind) in [(MANIFESTS, Object::Manifest), ("members", Object::Members)] {
        findings.push(objects(&store, what, kind, full));
    }
}

fn index(path: &Path) -> Finding {
    const WHAT: &str = "index";
    const REBUILD: &str = "rebuild it with atlasctl doctor --rebuild";
    if !path.exists() {
        return Finding::warn(WHAT, format!("{}: missing", path.display()), REBUILD);
    }
    match Index::open_read_only(path).and_then(|index| index.counts()) {
        Ok((versions, uses, runs)) => {
            let text = format!(
                "{} versions, {} uses, {} runs",
                amount::count(versions),
                amount::count(uses),
                amount::count(runs)
            );
            Finding::ok(WHAT, text)
        }
        Err(e @ IndexError::Damaged { .. }) => Finding::fail(WHAT, e.to_string(), ""),
        Err(e @ IndexError::Unclosed(_)) => Finding::warn(WHAT, e.to_string(), ""),
        Err(e) => Finding::warn(WHAT, e.to_string(), "look again as the user who mounts it"),
    }
}

/// The manifests that an index knows of and the store has no more; `None` when there is none, or the index cannot say.
fn lost(path: &Path, store: &Store) -> Option<Finding> {
    let index = Index::open_read_only(path).ok()?;
    let rows = index.under(Path::new("")).ok()?;
    let known: BTreeSet<_> = rows
        .iter()
        .filter_map(|r| Some(r.manifest?.sha256))
        .collect();
    let there: BTreeSet<_> = store.names(Object::Manifest).ok()?.into_iter().collect();
    let gone: Vec<_> = known.difference(&there).map(Sha256::hex).collect();
    let first = amount::prefix(gone.first()?);
    let text = match gone.len() {
        1 => format!("one is missing: {first}"),
        n => format!(
            "{} are missing: {first} and others",
            amount::count(n as u64)
        ),
    };
    Some(Finding::fail(MANIFESTS, text, RESTORE))
}

/// Hashes objects that are named by the SHA-256 of their own bytes. (Input sets are named by their root: `verify` checks those.)
fn objects(store: &Store, what: &'static str, kind: Object, full: bool) -> Finding {
    let names = match store.names(kind) {
        Ok(names) => names,
        Err(e) => return Finding::fail(what, e.to_string(), "check that the store can be read"),
    };
    let step = if full {
        1
    } else {
        names.len().div_ceil(SAMPLE).max(1)
    };
    let (mut done, mut bad) = (0u64, Vec::new());
    let mut progress = Progress::new();
    for name in names.iter().step_by(step) {
        match store.object(kind, name) {
            Ok(Some(bytes)) if Sha256::of(&bytes) == *name => {}
            Ok(_) | Err(_) => bad.push(name.hex()),
        }
        done += 1;
        progress.set(|| format!("{} {what} hashed", amount::count(done)));
    }
    progress.clear();
    let text = format!(
        "{} of {} hashed again",
        amount::count(done),
        amount::count(names.len() as u64)
    );
    if bad.is_empty() {
        Finding::ok(what, text)
    } else {
        let shown: Vec<_> = bad.iter().take(5).map(|hex| amount::prefix(hex)).collect();
        Finding::fail(
            what,
            format!("{text}, {} damaged: {}", bad.len(), shown.join(", ")),
            RESTORE,
        )
    }
}

/// Makes the index anew, under the lock that a daemon would hold.
fn rebuild(layout: &Layout) -> Result<Finding, Failure> {
    let lock = layout
        .claim()
        .map_err(|e| Failure::error(format!("doctor: {e}")))?;
    let path = layout.index(lock.node());
    let index =
        Index::rebuild(&path, &Store::open(layout)).map_err(|e| Failure::error(e.to_string()))?;
    let (versions, _, runs) = index.counts().map_err(|e| Failure::error(e.to_string()))?;
    let text = format!(
        "made anew: {} versions, {} runs",
        amount::count(versions),
        amount::count(runs)
    );
    Ok(Finding::ok("rebuild", text))
}
