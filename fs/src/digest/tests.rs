//! The pool on real files.
