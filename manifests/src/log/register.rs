//! Where the newest checkpoint of a log stands: one value that is compared before it is swapped. The one thing of a log that changes.
//!
//! Whoever swaps, signs: a register that does not really compare lets a log fork. So each kind proves itself before it is used:
//! `self_test` for what lies on a server, `posix` as it opens. Those on servers are in the crate `atlas-net`.

pub mod posix;
mod self_test;

pub use self_test::{OpenProbe, PROBES, self_test};

/// Why a register did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It may or may not have done what was asked: it must be read before anything else is done.
    #[error("{name}: {why}")]
    Unreachable {
        /// Which register.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// It cannot be used, and trying again does not help.
    #[error("{name}: {why}")]
    Unfit {
        /// Which register.
        name: String,
        /// Why, and what to do.
        why: String,
    },
}

impl RegisterError {
    /// `Unreachable`, in words.
    pub fn unreachable(name: impl Into<String>, why: impl ToString) -> Self {
        Self::Unreachable {
            name: name.into(),
            why: why.to_string(),
        }
    }

    /// `Unfit`, in words.
    pub fn unfit(name: impl Into<String>, why: impl ToString) -> Self {
        Self::Unfit {
            name: name.into(),
            why: why.to_string(),
        }
    }
}

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// The register holds the new value, durably.
    Done,
    /// It held something else, and still does.
    Lost,
}

/// One value, at most `MAX_VALUE` bytes. What is stored is opaque here.
pub trait Register: Send + Sync {
    /// For messages: which register, without secrets.
    fn name(&self) -> String;

    /// What it holds; `None` when nothing was ever stored.
    ///
    /// # Errors
    /// When it cannot be read, or holds what nobody of ours stored.
    fn load(&self) -> Result<Option<Vec<u8>>, RegisterError>;

    /// Stores `new` if it holds exactly `old`; `None`: if nothing was ever stored. Durable when it returns `Done`.
    ///
    /// # Errors
    /// `Unreachable`: whether it was stored is not known.
    fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError>;
}

/// A checkpoint with many signatures is far below this.
pub const MAX_VALUE: usize = 64 << 10;

/// Refuses a value that is longer than a register takes, before anybody is asked to store it.
///
/// # Errors
/// `Unfit`, when it is.
pub fn check_length(name: &str, value: &[u8]) -> Result<(), RegisterError> {
    if value.len() > MAX_VALUE {
        let why = format!(
            "a value of {} bytes is longer than the {MAX_VALUE} that a register holds: ask fewer witnesses",
            value.len()
        );
        return Err(RegisterError::unfit(name, why));
    }
    Ok(())
}
