//! The steps at which a daemon can die while it extends RTMR3, as the tests let it die. Nothing outside of tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Counts steps. Outside of tests it is empty and every step succeeds.
#[derive(Debug, Default)]
pub(super) struct Steps {
    #[cfg(test)]
    pub(super) death: Option<Death>,
}

/// Which step is the last, and how much of what it writes still gets there.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    pub(super) after: usize,
    pub(super) written: usize,
}

impl Steps {
    /// One step.
    pub(super) fn pass(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(death) = &mut self.death {
            if death.after == 0 {
                return Err(io::Error::other("died here"));
            }
            death.after -= 1;
        }
        Ok(())
    }

    /// One step that writes, and may be torn.
    pub(super) fn write(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let passed = self.pass();
        #[cfg(test)]
        if let (Err(_), Some(death)) = (&passed, &self.death) {
            let part = bytes.len().saturating_sub(1).min(death.written);
            file.write_all_at(&bytes[..part], at)?;
        }
        passed?;
        file.write_all_at(bytes, at)
    }
}
