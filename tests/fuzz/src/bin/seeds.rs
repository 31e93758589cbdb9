//! Writes honest examples for every target, one directory each, below the directory that is named. No target itself.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
// Instrumented like everything here, it needs the counters' other end.
use libfuzzer_sys as _;

fn main() -> Result<()> {
    let below: PathBuf = std::env::args_os()
        .nth(1)
        .context("usage: seeds DIR")?
        .into();
    for (target, examples) in atlas_fuzz::seeds::all()? {
        let dir = below.join(target);
        std::fs::create_dir_all(&dir)?;
        for (n, bytes) in examples.iter().enumerate() {
            std::fs::write(dir.join(format!("honest-{n}")), bytes)?;
        }
    }
    Ok(())
}
