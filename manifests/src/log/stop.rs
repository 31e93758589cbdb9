//! Where tests stop the writer of a log, as a full disk or a kill would. Not compiled into what ships.

use std::io;

use super::append::Step;

/// At which step, and after how many of its kind.
#[derive(Default)]
pub(super) struct Stop(Option<(Step, usize)>);

impl Stop {
    pub(super) fn on(step: Step, after: usize) -> Self {
        Self(Some((step, after)))
    }

    pub(super) fn at(&mut self, now: Step) -> io::Result<()> {
        match &mut self.0 {
            Some((step, 0)) if *step == now => Err(io::Error::other("stopped by a test")),
            Some((step, left)) if *step == now => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
