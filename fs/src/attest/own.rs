//! The events of one instance in the log that all share: their numbers, and what they say in sum. Read from the log, so that an event
//! whose writing failed halfway is counted exactly if it is there.

use atlas_manifests::evidence::{Entry, Event, EventBody, EventHead};
use atlas_manifests::id::InstanceId;

use super::events::Locked;
use super::evidence::AttestError;

/// As far as the log was looked through.
#[derive(Debug)]
pub(super) struct Own {
    instance: InstanceId,
    /// `None` before the first look.
    seen: Option<EventHead>,
    /// The number of the next event.
    next: u64,
    /// Manifests in all seal events.
    pub(super) total: u64,
    pub(super) ended: bool,
}

impl Own {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            seen: None,
            next: 0,
            total: 0,
            ended: false,
        }
    }

    /// Appends an event, numbered, unless one that `done` recognises turns out to be there already: an earlier try got further than it said.
    pub(super) fn append(
        &mut self,
        log: &mut Locked<'_>,
        done: impl Fn(&EventBody) -> bool,
        body: impl FnOnce(u64) -> EventBody,
    ) -> Result<(), AttestError> {
        if self.look(log)?.iter().any(done) {
            return Ok(());
        }
        if self.ended {
            return Err(AttestError::Ended);
        }
        let event = Event {
            instance: self.instance,
            seq: self.next,
            body: body(self.total),
        };
        log.append(&event)?;
        self.look(log).map(drop)
    }

    /// Counts what is new, and returns what of it is ours.
    pub(super) fn look(&mut self, log: &Locked<'_>) -> Result<Vec<EventBody>, AttestError> {
        let from = self.seen.map_or(0, |h| h.count);
        if log.head().count < from {
            return Err(AttestError::Lost);
        }
        let new = log.since(from)?;
        if self.seen.is_some_and(|h| h.rtmr3 != new.base) {
            return Err(AttestError::Lost);
        }
        let mut ours = Vec::new();
        for entry in &new.entries {
            let Entry::Event(bytes) = entry else { continue };
            let Ok(event) = Event::decode(bytes) else {
                continue;
            };
            if event.instance != self.instance {
                continue;
            }
            self.next = self.next.max(event.seq.saturating_add(1));
            match &event.body {
                EventBody::Seal { total, .. } => self.total = *total,
                EventBody::End { .. } => self.ended = true,
                EventBody::Start { .. } | EventBody::Anchor { .. } => {}
            }
            ours.push(event.body);
        }
        self.seen = Some(log.head());
        Ok(ours)
    }
}
