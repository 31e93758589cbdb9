//! The whole event log of a boot, put together from one evidence and those before it, and what it must say of the instance. Pure.

use super::binding::{Binding, KeyUse};
use super::event::{Entry, Event, EventBody, EventLog, Rtmr};
use super::record::Evidence;
use crate::digest::Sha256;
use crate::id::InstanceId;

/// No evidence has more before it: a quote a minute for two months.
const MAX_STEPS: usize = 100_000;
/// No boot has more events that are looked at.
const MAX_ENTRIES: usize = 8_000_000;

/// What an event log proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runtime {
    /// Number of entries.
    pub(super) count: u64,
    /// What RTMR3 was before the first.
    pub(super) base: Rtmr,
    /// How often somebody else extended it unseen.
    pub(super) foreign: usize,
}

/// Replays everything since the reset and holds it against register and binding.
///
/// # Errors
/// What does not fit, in words.
pub(super) fn replay(
    evidence: &Evidence,
    binding: &Binding,
    rtmr3: Rtmr,
    earlier: &dyn Fn(&Sha256) -> Option<Evidence>,
) -> Result<Option<Runtime>, String> {
    let (log, said) = match (&evidence.events, &binding.events) {
        (Some(log), Some(said)) => (log, said),
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err("the event log that it binds is missing".to_owned()),
        (Some(_), None) => {
            return Err("it comes with an event log that it does not bind".to_owned());
        }
    };
    let head = log.head();
    if head != *said {
        return Err("the event log is not the one that was bound".to_owned());
    }
    if head.rtmr3 != rtmr3 {
        return Err("RTMR3 is not what the event log replays to: events are missing, changed, or somebody extended it unseen".to_owned());
    }
    let logs = stretches(log.clone(), binding, earlier)?;
    let foreign = logs.iter().map(EventLog::foreign).sum();
    let entries = logs.iter().rev().flat_map(|l| &l.entries);
    history(binding, entries)?;
    let base = logs.last().map_or(Rtmr::ZERO, |l| l.base);
    Ok(Some(Runtime {
        count: head.count,
        base,
        foreign,
    }))
}

/// The stretches of the log, newest first, each beginning where the one after it in time says.
fn stretches(
    newest: EventLog,
    binding: &Binding,
    earlier: &dyn Fn(&Sha256) -> Option<Evidence>,
) -> Result<Vec<EventLog>, String> {
    let mut logs = vec![newest];
    let mut previous = binding.previous;
    let mut entries = logs[0].entries.len();
    while let Some(name) = previous {
        let before = earlier(&name).ok_or_else(|| {
            format!("the evidence before it ({name}) is not here: its event log goes on from there")
        })?;
        if before.id() != name {
            return Err("what stands for the evidence before it is another one".to_owned());
        }
        let bound = before.bound().map_err(|e| e.to_string())?;
        let log = before
            .events
            .ok_or_else(|| "the evidence before it has no event log".to_owned())?;
        let next = &logs[logs.len() - 1];
        let head = log.head();
        if head.count != next.from || head.rtmr3 != next.base {
            return Err("its event log does not go on where the one before it ended".to_owned());
        }
        entries += log.entries.len();
        if logs.len() >= MAX_STEPS || entries > MAX_ENTRIES {
            return Err("its event log is longer than any that is read".to_owned());
        }
        logs.push(log);
        previous = bound.previous;
    }
    if logs.last().is_some_and(|l| l.from != 0) {
        return Err("its event log does not begin at its beginning".to_owned());
    }
    Ok(logs)
}

/// The instance's own events: it began once, with the keys that are bound, counted without a gap, and had not ended.
fn history<'a>(binding: &Binding, entries: impl Iterator<Item = &'a Entry>) -> Result<(), String> {
    let own: InstanceId = binding.instance;
    let mut next = 0;
    let mut ended = false;
    for entry in entries {
        let Entry::Event(bytes) = entry else { continue };
        let event =
            Event::decode(bytes).map_err(|e| format!("an event in its log cannot be read: {e}"))?;
        if event.instance != own {
            continue;
        }
        if event.seq != next {
            return Err(format!(
                "event {} of the instance stands where number {next} belongs",
                event.seq
            ));
        }
        if ended {
            return Err("the instance goes on after its own end".to_owned());
        }
        next += 1;
        match event.body {
            EventBody::Start {
                seal_key,
                log_key,
                config,
                program,
            } => {
                let same = event.seq == 0
                    && binding.key(KeyUse::Seal) == Some(seal_key)
                    && binding.key(KeyUse::Log) == Some(log_key)
                    && binding.config == config
                    && binding.program == program;
                if !same {
                    return Err(
                        "the instance began with other keys, another program or another configuration than are bound"
                            .to_owned(),
                    );
                }
            }
            _ if event.seq == 0 => {
                return Err("the instance's first event is not its start".to_owned());
            }
            EventBody::End { .. } => ended = true,
            EventBody::Seal { .. } | EventBody::Anchor { .. } => {}
        }
    }
    if next == 0 {
        return Err("the instance's start is not in its event log".to_owned());
    }
    Ok(())
}
