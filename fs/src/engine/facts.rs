//! What is known of each process' program, found out in the background and asked for when something is sealed. Finding out is `program`'s.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use atlas_manifests::id::RunId;
use atlas_manifests::rows::RunRow;
use atlas_manifests::vocabulary::Confined;
use dashmap::DashMap;

use super::lock;
use crate::caller::{Callers, Seen, Who};
use crate::program::{Facts, Programs};

/// One process as it was seen, and what came of looking closer.
struct Slot {
    seen: Arc<Seen>,
    facts: OnceLock<Arc<Facts>>,
}

/// Facts by run and process.
pub(super) struct FactBook {
    programs: Programs,
    slots: DashMap<(RunId, u32), Arc<Slot>>,
    past: DashMap<RunId, Arc<Facts>>,
    ask: Mutex<Option<Sender<Arc<Slot>>>>,
    asked: Mutex<Option<Receiver<Arc<Slot>>>>,
}

impl FactBook {
    pub(super) fn new(programs: Programs) -> Self {
        let (ask, asked) = channel();
        Self {
            programs,
            slots: DashMap::new(),
            past: DashMap::new(),
            ask: Mutex::new(Some(ask)),
            asked: Mutex::new(Some(asked)),
        }
    }

    /// Notes a process at its first touch, and again when it runs another program. Cheap: the heavy part is `work`'s.
    pub(super) fn learn(&self, callers: &Callers, who: &Who) {
        let Some(seen) = callers.seen(who) else {
            return;
        };
        let key = (who.run, who.process);
        if self
            .slots
            .get(&key)
            .is_some_and(|s| Arc::ptr_eq(&s.seen, &seen))
        {
            return;
        }
        let slot = Arc::new(Slot {
            seen,
            facts: OnceLock::new(),
        });
        self.slots.insert(key, Arc::clone(&slot));
        if let Some(ask) = &*lock(&self.ask) {
            // A worker that has ended finds nothing out; `of` does then.
            let _ = ask.send(slot);
        }
    }

    /// Looks closer at whoever was noted, until `close`. On a thread of its own.
    pub(super) fn work(&self) {
        let Some(asked) = lock(&self.asked).take() else {
            return;
        };
        for slot in asked {
            slot.facts.get_or_init(|| self.programs.facts(&slot.seen));
        }
    }

    /// The facts of a process; waits for them if they are being found out.
    pub(super) fn of(&self, run: RunId, process: u32) -> Arc<Facts> {
        let slot = self.slots.get(&(run, process)).map(|s| Arc::clone(&s));
        match slot {
            Some(slot) => Arc::clone(slot.facts.get_or_init(|| self.programs.facts(&slot.seen))),
            None => self
                .past
                .get(&run)
                .map_or_else(|| Arc::new(unknown()), |f| Arc::clone(&f)),
        }
    }

    /// A run of an earlier life: what its row says is all there is.
    pub(super) fn remember(&self, row: &RunRow) {
        let name = row
            .exe
            .as_ref()
            .map(|e| String::from_utf8_lossy(e.base_name()).into_owned());
        let facts = Facts {
            program: name.unwrap_or_else(|| "unknown".to_owned()),
            exe: row.exe.clone(),
            exe_digest: None,
            script: row.script.clone(),
            git: row.git.clone(),
            python: None,
            env_names: Vec::new(),
            argv: row.argv.clone(),
            cwd: row.cwd.clone(),
            host: row.host.clone().unwrap_or_default(),
            user: row.uid.to_string(),
            confined: row.confined,
        };
        self.past.insert(row.id, Arc::new(facts));
    }

    /// Lets the worker end when it has done what it was asked.
    pub(super) fn close(&self) {
        lock(&self.ask).take();
    }

    /// Forgets the processes of a run that has ended and been written down.
    pub(super) fn forget(&self, run: RunId) {
        self.slots.retain(|(r, _), _| *r != run);
    }
}

/// Of a process that was gone before it could be looked at.
fn unknown() -> Facts {
    Facts {
        program: "unknown".to_owned(),
        exe: None,
        exe_digest: None,
        script: None,
        git: None,
        python: None,
        env_names: Vec::new(),
        argv: Vec::new(),
        cwd: None,
        host: String::new(),
        user: String::new(),
        confined: Confined::Open,
    }
}
