//! `atlas-fs`: mounts a directory so that what jobs read and write is recorded and sealed. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    atlas_fs::command::run(std::env::args_os(), &atlas_fs::assemble::Whole)
}
