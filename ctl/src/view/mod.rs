//! How answers look to a person or a program. Nothing here asks or decides anything.

pub mod amount;
pub mod escape;
pub mod json;
pub mod out;
pub mod paint;
pub mod progress;
pub mod row;
pub mod table;
pub mod tree;
