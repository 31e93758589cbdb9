//! A change of a file's bytes that the observer knows of before it is made, and of whose end it hears, however it ends. Not what changed.

use super::observer::{FileKey, Observer};

/// A change under way. It ends when this is dropped: after the observer was told of it, or when there is nothing to tell.
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
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if self.alters {
            self.observer.after_change(self.file);
        }
    }
}
