//! The control channel's answers (CONTRACTS 4).

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use atlas_manifests::bytes::base64;
use atlas_manifests::digest::DigestPrefix;
use atlas_manifests::rows::{RunRow, UseRow, VersionRow};
use atlas_manifests::shelf::{Catalogue as _, Object, Shelf as _, ShelfError};
use atlas_manifests::wire::{Ask, Say};

use super::disclosure::View;
use super::{Engine, lock};
use crate::control::{Handler, Peer};

/// `sync` over the channel waits at most so long, whatever was asked.
const LONGEST_SYNC: Duration = Duration::from_secs(3600);

/// The index may be so far behind for a question by name.
const LONGEST_LAG: Duration = Duration::from_secs(1);

pub(super) fn error(code: i32, text: impl Into<String>) -> Say {
    Say::Error {
        text: text.into(),
        code,
    }
}

fn said<T>(result: Result<T, ShelfError>, say: impl FnOnce(T) -> Say) -> Say {
    match result {
        Ok(value) => say(value),
        Err(e) => error(1, e.to_string()),
    }
}

impl Handler for Engine {
    fn answer(
        &self,
        peer: Peer,
        ask: Ask,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut view = View::new(self, &peer);
        let answer = match ask {
            Ask::Declare {
                name,
                meta,
                argv,
                cgroup,
            } => {
                let cgroup = cgroup.filter(|g| may_claim(&peer, Path::new("/sys/fs/cgroup"), g));
                let run = self.callers.declare(peer.pid, name, meta, argv, cgroup);
                let _ = self.scribe.send(super::Work::Run(run));
                Say::Run { run }
            }
            Ask::Finish { run, exit } => match self.callers.finish(run, peer.pid, exit) {
                Ok(()) => {
                    let _ = self.scribe.send(super::Work::Run(run));
                    Say::Done
                }
                Err(text) => error(1, text),
            },
            Ask::Status => Say::Status(Box::new(self.status())),
            Ask::Sync { wait_ms } => Say::Synced {
                pending: self.sync(Duration::from_millis(wait_ms).min(LONGEST_SYNC)),
            },
            Ask::Register {
                paths,
                name,
                author,
            } => return self.register(&peer, paths, name, author, say),
            Ask::Unmount { .. } => error(1, "the mount does not answer this request; use SIGTERM"),
            Ask::Mark { label } => match self.mark(peer.pid, &label) {
                Ok(()) => Say::Done,
                Err(text) => error(1, text),
            },
            Ask::Object {
                kind: Object::Private,
                ..
            } if !view.all() => error(1, "private records are for root and the daemon's own user"),
            Ask::Attest { .. } if !view.all() => error(
                1,
                "fresh evidence is for root and the daemon's own user: what there is, anybody may see",
            ),
            Ask::Attest { nonce } => self.attest(&nonce),
            Ask::Revoke { .. } if !view.all() => error(
                1,
                "what may be believed is for root and the daemon's own user to say",
            ),
            Ask::Revoke {
                manifest,
                instance,
                reason,
            } => self.revoke(manifest, instance, &reason),
            // As if it were not here: whoever cannot read the set cannot check its members either.
            Ask::Object {
                kind: Object::Members,
                name,
            } if !view.lists(&name) => Say::Bytes { b64: None },
            Ask::Object { kind, name } => {
                said(self.store.object(kind, &name), |bytes| Say::Bytes {
                    b64: bytes.map(|b| base64(&b)),
                })
            }
            Ask::ManifestsOf { asset } => said(self.store.manifests_of(&asset), |names| {
                Say::Names { names }
            }),
            Ask::ByPath { path } => {
                if view.reads(path.as_path()) || self.owns_path(&peer, &path) {
                    // A rename that was answered is a rename that whoever asks has seen.
                    self.flush_scribe(Instant::now() + LONGEST_LAG);
                    let live = self.live_row(&path);
                    said(self.index.by_path(path.as_path()), |mut rows| {
                        if let Some(live) = live {
                            rows.retain(|r| r.node != live.node);
                            rows.push(live);
                        }
                        versions(&mut view, rows)
                    })
                } else {
                    error(
                        1,
                        "permission denied: you could not read this file yourself",
                    )
                }
            }
            Ask::ByDigest { digest } => match digest.parse::<DigestPrefix>() {
                Ok(prefix) => said(self.index.by_digest(&prefix), |rows| {
                    versions(&mut view, rows)
                }),
                Err(e) => error(2, e.to_string()),
            },
            Ask::Versions { nodes } => {
                said(self.index.versions(&nodes), |rows| Say::MaybeVersions {
                    rows: rows
                        .into_iter()
                        .map(|r| r.map(|r| view.version(r)))
                        .collect(),
                })
            }
            Ask::WrittenBy { run } => {
                said(self.index.written_by(run), |rows| versions(&mut view, rows))
            }
            Ask::Run { id } => said(self.index.run(id), |row| {
                runs(&mut view, self.run_row(id).or(row))
            }),
            Ask::Runs => said(self.index.runs(), |rows| runs(&mut view, rows)),
            Ask::Uses { run, below } => {
                said(self.index.uses(run, below), |rows| uses(&mut view, rows))
            }
            Ask::Users { node } => said(self.index.users(node), |rows| uses(&mut view, rows)),
            // A listing: what the asker could not have listed is left out, not only unnamed.
            Ask::Under { dir } => said(self.index.under(dir.as_path()), |rows| {
                let mut rows: Vec<_> = rows.into_iter().map(|r| view.version(r)).collect();
                rows.retain(|r| r.path.is_some());
                Say::Versions { rows }
            }),
        };
        say(answer)
    }
}

/// Whether all processes in a cgroup may be counted to the peer's run: nobody claims the jobs of others. `root` is where cgroup2 is mounted.
fn may_claim(peer: &Peer, root: &Path, cgroup: &str) -> bool {
    let mut components = Path::new(cgroup).components();
    let clean = components.next() == Some(Component::RootDir)
        && components.all(|c| matches!(c, Component::Normal(_)));
    let owner = || std::fs::symlink_metadata(root.join(cgroup.trim_start_matches('/')));
    clean && (peer.is_owner() || owner().is_ok_and(|m| m.is_dir() && m.uid() == peer.uid))
}

fn versions(view: &mut View<'_>, rows: Vec<VersionRow>) -> Say {
    Say::Versions {
        rows: rows.into_iter().map(|r| view.version(r)).collect(),
    }
}

fn runs(view: &mut View<'_>, rows: impl IntoIterator<Item = RunRow>) -> Say {
    Say::Runs {
        rows: rows.into_iter().map(|r| view.run(r)).collect(),
    }
}

fn uses(view: &mut View<'_>, rows: Vec<UseRow>) -> Say {
    Say::Uses {
        rows: rows.into_iter().map(|r| view.used(r)).collect(),
    }
}

impl Engine {
    /// The row of a file that is open or on its way, as the ledger has it: newer than the index.
    fn live_row(&self, path: &atlas_manifests::bytes::PathBytes) -> Option<VersionRow> {
        let ledger = lock(&self.ledger);
        let file = ledger.at_path(path)?;
        let (state, row) = ledger.file_state(file)?;
        row.filter(|_| {
            use atlas_manifests::vocabulary::State;
            matches!(
                state,
                State::Open | State::Held | State::Digesting | State::Waiting
            )
        })
    }

    fn owns_path(&self, peer: &Peer, path: &atlas_manifests::bytes::PathBytes) -> bool {
        let rows = self.index.by_path(path.as_path()).unwrap_or_default();
        let run = rows.last().and_then(|r| r.run);
        run.and_then(|r| self.run_row(r).or_else(|| self.index.run(r).ok().flatten()))
            .is_some_and(|r| r.uid == peer.uid)
    }

    /// An epoch of the caller's run begins: a label, nothing else.
    pub(super) fn mark(&self, pid: i32, label: &str) -> Result<(), String> {
        if label.is_empty() || label.len() > 256 || label.chars().any(char::is_control) {
            return Err("a mark is one line of at most 256 printable bytes".to_owned());
        }
        let caller = crate::vfs::observer::Caller {
            tid: crate::vfs::observer::Tid(pid),
            uid: 0,
            gid: 0,
        };
        let Some(who) = self.callers.resolve(caller, false).first().copied() else {
            return Err("the caller is gone".to_owned());
        };
        self.callers.amend(who.run, |row| {
            let n = row
                .meta
                .iter()
                .filter(|(k, _)| k.starts_with("mark."))
                .count();
            row.meta.push((format!("mark.{n}"), label.to_owned()));
        });
        let _ = self.scribe.send(super::Work::Run(who.run));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_claims_the_processes_of_others_by_naming_their_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("job")).unwrap();
        let own = std::fs::metadata(dir.path()).unwrap().uid();
        let peer = |uid| Peer {
            pid: 1,
            uid,
            gid: 1,
            groups: Vec::new(),
            pidfd: None,
        };
        let claims = |uid, cgroup| may_claim(&peer(uid), dir.path(), cgroup);
        assert!(claims(own, "/job"));
        assert!(!claims(own ^ 77, "/job"), "another user's");
        assert!(!claims(own ^ 77, "/none"));
        for bad in ["job", "/job/../job", "", "/.."] {
            assert!(!claims(own, bad), "{bad:?}");
        }
    }
}
