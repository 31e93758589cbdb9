//! POSIX over the backing directory, not tied to fuser.

pub mod observer;
