//! How answers look to a person or a program. Nothing here asks or decides anything.

pub(crate) mod amount;
pub(crate) mod escape;
pub(crate) mod facts;
pub(crate) mod json;
pub(crate) mod lineage;
pub(crate) mod log;
pub(crate) mod out;
pub(crate) mod paint;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod row;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod sheet;
pub(crate) mod table;
pub(crate) mod tree;
pub(crate) mod verdict;
