//! Signals as events of the mount's life. SIGPIPE is ignored by Rust's runtime before main, so that a peer's end is an error and not the daemon's.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::lifecycle::Event;

/// Listens for as long as it is held.
pub struct Listening {
    handle: Handle,
}

/// From now on SIGTERM and SIGINT ask the mount to end, and SIGHUP the log to be opened again.
///
/// # Errors
/// When the handlers cannot be set.
pub fn listen(events: Sender<Event>) -> io::Result<Listening> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    thread::Builder::new()
        .name("atlas-signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                let event = if signal == SIGHUP {
                    Event::Reopen
                } else {
                    Event::Stop
                };
                // Nobody listens any more: the mount is ending.
                if events.send(event).is_err() {
                    return;
                }
            }
        })?;
    Ok(Listening { handle })
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.close();
    }
}
