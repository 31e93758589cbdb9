//! `atlasctl verify`: finds each file and what is to be known of it, and hands both to `atlas_manifests::verify`, which decides.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atlas_manifests::bundle::Bundle;
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::verify::{
    self as check, Content, Entry, FileVerdict, ManifestChoice, Memo, Report, Subject, Terms,
};
use atlas_manifests::vocabulary::State;

use crate::cli::{Global, VerifyArgs};
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::find;
use crate::place::{self, Located, Place};
use crate::terms;
use crate::view::out::Out;
use crate::view::progress::Progress;
use crate::view::{amount, escape, verdict};
use crate::walk::{self, Step, Walk};

/// No manifest beside a file is read beyond this, in bytes.
const MAX_SIDECAR: u64 = 1 << 20;
/// How often a file that is being sealed is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// Verifies everything that was named.
pub(crate) fn verify(args: &VerifyArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let terms = terms::terms(&args.trust, &args.evidence, args.heads.as_deref())?;
    let (given, sources) = match &args.manifest {
        Some(file) => given(file)?,
        None => (None, Vec::new()),
    };
    let mut session = Session {
        args,
        global,
        terms,
        given,
        bundled: !sources.is_empty(),
        sources,
        files: Vec::new(),
        passed_over: 0,
        whole: args.paths.len() == 1,
        out,
    };
    for path in &args.paths {
        session.path(path)?;
    }
    let Session {
        files, passed_over, ..
    } = session;
    let report = Report::of(files);
    if global.json {
        out.json(&report)?;
    } else if report.files.len() > 1 {
        out.text(&verdict::summary(&report, passed_over))?;
    }
    if report.files.is_empty() {
        return Err(Failure::new(
            Code::NO_MANIFEST,
            "verify: there is no file here to verify",
        ));
    }
    Ok(Code::from(report.code.number()))
}

/// `--manifest`: the manifest, and for a bundle what it holds besides. A tar says so at its 257th byte (POSIX ustar).
fn given(file: &Path) -> Result<(Option<Vec<u8>>, Vec<Source>), Failure> {
    let failed = |e: io::Error| Failure::io(file.display(), &e);
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(failed)?;
    opened
        .take(MAX_SIDECAR)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.get(257..262) != Some(b"ustar") {
        return Ok((Some(bytes), Vec::new()));
    }
    let broken = |text: String| Failure::error(format!("{}: {text}", file.display()));
    let bundle = Bundle::open(file).map_err(|e| broken(e.to_string()))?;
    let rows = bundle.catalogue().map_err(|e| broken(e.to_string()))?;
    let manifest = bundle.manifest().map(<[u8]>::to_vec);
    let manifest = manifest.ok_or_else(|| {
        broken(
            "is about evidence, not about a file: check it with atlasctl attest verify".to_owned(),
        )
    })?;
    let evidence = Evidence::Bundle(Box::new(bundle), Box::new(rows));
    Ok((
        Some(manifest),
        vec![Source {
            key: None,
            evidence,
            memo: Memo::default(),
        }],
    ))
}

/// One place's evidence, and what was found out with it about ancestors.
struct Source {
    key: Option<PathBuf>,
    evidence: Evidence,
    memo: Memo,
}

struct Session<'a> {
    args: &'a VerifyArgs,
    global: &'a Global,
    terms: Terms,
    given: Option<Vec<u8>>,
    sources: Vec<Source>,
    /// The only source is a bundle.
    bundled: bool,
    files: Vec<FileVerdict>,
    passed_over: u64,
    whole: bool,
    out: &'a mut Out,
}

impl Session<'_> {
    fn path(&mut self, path: &Path) -> Result<(), Failure> {
        match place::metadata(path, true)? {
            Ok(meta) if meta.is_dir() => self.directory(path),
            Ok(_) => {
                let verdict = self.file(path, true);
                self.push(verdict)
            }
            Err(e) => {
                let text = crate::exit::reason(&e);
                if !self.global.json {
                    let shown = escape::short(&path.display().to_string(), 200);
                    crate::view::out::say(&format!("atlasctl: {shown}: {text}: check its name"));
                }
                self.files.push(FileVerdict::failed(
                    &path.into(),
                    check::Code::Other,
                    text,
                    "check its name",
                ));
                Ok(())
            }
        }
    }

    /// A set is verified as one; other directories are walked when that was asked for.
    fn directory(&mut self, dir: &Path) -> Result<(), Failure> {
        if let Some(verdict) = self.set(dir) {
            return self.push(verdict);
        }
        if !self.args.recursive {
            let text = "is a directory that was not registered".to_owned();
            let remedy = "verify the files below it with --recursive";
            let verdict = FileVerdict::failed(&dir.into(), check::Code::Usage, text, remedy);
            return self.push(verdict);
        }
        self.whole = false;
        let mut walk = Walk::below(dir).map_err(|e| Failure::io(dir.display(), &e))?;
        while let Some(step) = walk.next() {
            match step {
                Ok(Step::Directory(path)) => {
                    if let Some(verdict) = self.set(&path) {
                        walk.skip();
                        self.push(verdict)?;
                    }
                }
                Ok(Step::File(path)) if is_sidecar(&path) => self.passed_over += 1,
                Ok(Step::File(path)) => {
                    let verdict = self.file(&path, false);
                    self.push(verdict)?;
                }
                Ok(Step::Other(_)) => self.passed_over += 1,
                Err((path, e)) => {
                    let text = crate::exit::reason(&e);
                    let verdict = FileVerdict::failed(
                        &path.into(),
                        check::Code::Other,
                        text,
                        "check that it can be read",
                    );
                    self.push(verdict)?;
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, follow: bool) -> FileVerdict {
        let shown = PathBytes::from(path);
        let failed = |f: Failure| FileVerdict::failed(&shown, code(f.code), f.text, "");
        let mut progress = Progress::new();
        let (source, choice) = match self.prepare(path, &mut progress) {
            Ok(Prepared::Ready(source, choice)) => (source, choice),
            Ok(Prepared::Pending(text)) => {
                let remedy = "wait for it with atlasctl sync, or give a longer --timeout";
                return FileVerdict::failed(&shown, check::Code::Other, text, remedy);
            }
            Err(f) => return failed(f),
        };
        let file = match walk::open(path, follow) {
            Ok(file) => file,
            Err(e) => return failed(Failure::error(crate::exit::reason(&e))),
        };
        let subject = Subject {
            path: shown.clone(),
            content: Content::File(file),
        };
        let cell = std::cell::RefCell::new(progress);
        let tell = |done: u64, size: u64| {
            cell.borrow_mut().set(|| {
                format!(
                    "{} of {} hashed  {}",
                    amount::size(done),
                    amount::size(size),
                    shown.lossy()
                )
            });
        };
        let Source { evidence, memo, .. } = &mut self.sources[source];
        let mut verdict =
            check::verify(evidence.shelf(), &self.terms, subject, &choice, memo, &tell);
        if let Some(manifest) = &self.args.manifest {
            // Whose fault it is: of the manifest that was given, not of the file.
            for reason in verdict
                .reasons
                .iter_mut()
                .filter(|r| r.code == check::Code::Untrusted)
            {
                reason.text = format!("{}: {}", manifest.display(), reason.text);
            }
        }
        verdict
    }

    /// The directory as a registered set; `None` when it is not one.
    fn set(&mut self, dir: &Path) -> Option<FileVerdict> {
        let shown = PathBytes::from(dir);
        let failed = |f: Failure| Some(FileVerdict::failed(&shown, code(f.code), f.text, ""));
        let (source, choice) = match self.choice(dir) {
            Ok(found) => found,
            Err(f) => return failed(f),
        };
        let given_is_set =
            |bytes: &Vec<u8>| atlas_manifests::read::peek(bytes).is_ok_and(|s| s.members.is_some());
        let registered = choice.row.as_ref().is_some_and(|r| r.members.is_some());
        if !registered && !choice.given.as_ref().is_some_and(given_is_set) {
            return None;
        }
        let (entries, links) = match members(dir) {
            Ok(found) => found,
            Err(f) => return failed(f),
        };
        self.passed_over += links;
        let progress = std::cell::RefCell::new(Progress::new());
        let tell = |done: u64, of: u64| {
            progress.borrow_mut().set(|| {
                format!(
                    "{} of {} files hashed",
                    amount::count(done),
                    amount::count(of)
                )
            });
        };
        let Source { evidence, memo, .. } = &mut self.sources[source];
        Some(check::verify_set(
            evidence.shelf(),
            &self.terms,
            &shown,
            &choice,
            entries,
            memo,
            &tell,
        ))
    }

    /// What is known of a file, once it is sealed or will not be soon.
    fn prepare(&mut self, path: &Path, progress: &mut Progress) -> Result<Prepared, Failure> {
        let end = Instant::now() + Duration::from_secs(self.args.timeout);
        loop {
            let (source, choice) = self.choice(path)?;
            if self.given.is_some() {
                return Ok(Prepared::Ready(source, Box::new(choice)));
            }
            let located = place::locate(path)?;
            let Some(pending) = pending(&located, choice.row.as_ref()) else {
                return Ok(Prepared::Ready(source, Box::new(choice)));
            };
            if pending.starts_with(State::Open.as_str()) || Instant::now() >= end {
                return Ok(Prepared::Pending(format!("is not sealed yet: {pending}")));
            }
            progress.set(|| format!("{pending}  {}", path.display()));
            std::thread::sleep(PAUSE);
        }
    }

    /// Where the manifest may be: what was given, what is known of the path, what lies beside it.
    fn choice(&mut self, path: &Path) -> Result<(usize, ManifestChoice), Failure> {
        let located = place::locate(path)?;
        let source = self.source(&located)?;
        let evidence = &self.sources[source].evidence;
        if let Some(given) = &self.given {
            let given = Some(given.clone());
            return Ok((
                source,
                ManifestChoice {
                    given,
                    ..ManifestChoice::default()
                },
            ));
        }
        let row = find::own_row(&located, evidence)?;
        let below = match &located.place {
            Place::Live { below, .. } | Place::Backing { below, .. } => below,
            Place::Loose => &located.real,
        };
        let choice = ManifestChoice {
            given: None,
            row,
            place: Some(PathBytes::from(below.as_path())),
            excluded: live_state(&located).is_some_and(|s| s.parse() == Ok(State::Excluded)),
            sidecar: sidecar(path),
        };
        Ok((source, choice))
    }

    fn source(&mut self, located: &Located) -> Result<usize, Failure> {
        if self.bundled {
            return Ok(0);
        }
        let key = match (&self.global.state, &located.place) {
            (Some(state), _) => Some(state.clone()),
            (None, Place::Live { status, .. }) => Some(status.socket.as_path().to_owned()),
            (None, Place::Backing { state, .. }) => Some(state.clone()),
            (None, Place::Loose) => None,
        };
        if let Some(at) = self.sources.iter().position(|s| s.key == key) {
            return Ok(at);
        }
        let evidence = Evidence::at(located, self.global)?;
        self.sources.push(Source {
            key,
            evidence,
            memo: Memo::default(),
        });
        Ok(self.sources.len() - 1)
    }

    fn push(&mut self, verdict: FileVerdict) -> Result<(), Failure> {
        if !self.global.json {
            self.out
                .text(&verdict::file(&verdict, self.whole, self.out.paint))?;
        }
        self.files.push(verdict);
        Ok(())
    }
}

enum Prepared {
    /// It can be judged with this source's evidence.
    Ready(usize, Box<ManifestChoice>),
    /// It is being written or sealed: the state in words.
    Pending(String),
}

/// The state of a version that is still on its way, with the progress that the mount tells; `None` for all others.
fn pending(located: &Located, row: Option<&VersionRow>) -> Option<String> {
    let (state, text) = match (live_state(located), row) {
        (Some(text), _) => (text.split_whitespace().next()?.parse::<State>().ok()?, text),
        (None, Some(row)) => {
            let reason = row
                .reason
                .as_deref()
                .map_or(String::new(), |r| format!(" ({r})"));
            (row.state, format!("{}{reason}", row.state))
        }
        (None, None) => return None,
    };
    match state {
        State::Open | State::Held | State::Digesting | State::Waiting => Some(text),
        State::Sealed
        | State::Logged
        | State::Incomplete
        | State::Superseded
        | State::Unattested
        | State::Excluded
        | State::Empty => None,
    }
}

/// What the mount says of a file on it.
fn live_state(located: &Located) -> Option<String> {
    let live = matches!(located.place, Place::Live { .. });
    live.then(|| xattr_state(&located.real)).flatten()
}

/// `user.atlas.state`, for example `digesting 43 %`.
fn xattr_state(path: &Path) -> Option<String> {
    let mut value = [0u8; 256];
    let n = rustix::fs::getxattr(path, "user.atlas.state", &mut value[..]).ok()?;
    let text = std::str::from_utf8(value.get(..n)?).ok()?.trim();
    Some(text.to_owned()).filter(|t| !t.is_empty())
}

/// `PATH.c2pa`, when it can be read.
fn sidecar(path: &Path) -> Option<Vec<u8>> {
    let mut name = OsString::from(path);
    name.push(".c2pa");
    let mut bytes = Vec::new();
    let file = walk::open(Path::new(&name), true).ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    file.take(MAX_SIDECAR).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A manifest that lies beside the file it is about is no file to verify.
fn is_sidecar(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes
        .strip_suffix(b".c2pa")
        .is_some_and(|of| fs::symlink_metadata(Path::new(std::ffi::OsStr::from_bytes(of))).is_ok())
}

/// The files below a set's directory as the set names them, and how many links and special files were passed over.
fn members(dir: &Path) -> Result<(Vec<Entry<'static>>, u64), Failure> {
    let mut walk = Walk::below(dir).map_err(|e| Failure::io(dir.display(), &e))?;
    let (mut entries, mut links) = (Vec::new(), 0);
    while let Some(step) = walk.next() {
        match step {
            Ok(Step::File(path)) => {
                let below = path.strip_prefix(dir).unwrap_or(&path);
                entries.push(Entry {
                    path: PathBytes::from(below),
                    open: Box::new(move || walk::open(&path, false)),
                });
            }
            Ok(Step::Directory(_)) => {}
            Ok(Step::Other(_)) => links += 1,
            Err((path, e)) => return Err(Failure::io(path.display(), &e)),
        }
    }
    Ok((entries, links))
}

fn code(code: Code) -> check::Code {
    check::Code::from_number(code.0.into())
}
