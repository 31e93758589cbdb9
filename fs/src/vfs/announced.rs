//! A change of a file's bytes that the observer knows of before it is made, and of whose end it hears, however it ends. Not what changed.

use super::observer::{FileKey, Observer};

/// Between the announcement and the telling. Dropped, it says that nothing came of it.
pub(crate) struct Announced<'a> {
    observer: &'a dyn Observer,
    file: FileKey,
    alters: bool,
}

impl<'a> Announced<'a> {
    /// See `Observer::before_change`.
    pub(crate) fn new(observer: &'a dyn Observer, file: FileKey, alters: bool) -> Self {
        observer.before_change(file, alters);
        Self {
            observer,
            file,
            alters,
        }
    }

    /// The observer was told what was done.
    pub(crate) fn told(mut self) {
        self.alters = false;
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if self.alters {
            self.observer.unchanged(self.file);
        }
    }
}
