//! What a seal costs: its delay after close(), seals a second, and the manifest's size for few and many inputs.
//!
//! `cargo run --release -p atlas-benches --bin seals` as root.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::time::{Duration, Instant};

use anyhow::Result;
use atlas_benches::rounds::median;
use atlas_benches::{Scale, load};
use atlas_tests::{Io, Lab, Mount, Options, files};

fn main() -> Result<()> {
    let scale = Scale::from_args()?;
    for io in [Io::Passthrough, Io::Inline] {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        println!("{}", io.word());
        for (name, bytes) in [("1 MiB", 1 << 20), ("large", scale.large)] {
            let mut delays = Vec::new();
            for round in 0..scale.rounds {
                delays.push(delay(&mount, &format!("{name}-{round}"), bytes)?);
            }
            println!(
                "  {:44} {:>10.1} ms",
                format!("from close() to sealed, {name} ({bytes} bytes)"),
                median(delays) * 1e3
            );
        }
        let began = Instant::now();
        load::small_files(&mount.path("small"), scale.small)?;
        mount.sync();
        let rate = scale.small as f64 / began.elapsed().as_secs_f64();
        println!(
            "  {:44} {rate:>10.0} /s",
            format!("{} files of 4 KiB, written and sealed", scale.small)
        );
        for number in scale.inputs {
            let size = manifest_size(&lab, &mount, number)?;
            println!(
                "  {:44} {size:>10} bytes",
                format!("manifest with {number} inputs")
            );
        }
    }
    Ok(())
}

/// Seconds from the end of close() until the state reads `sealed`.
fn delay(mount: &Mount<'_>, name: &str, bytes: usize) -> Result<f64> {
    load::sequential_write(&mount.path(name), bytes)?;
    let began = Instant::now();
    while mount.attribute(name, "user.atlas.state").as_deref() != Some("logged") {
        anyhow::ensure!(
            began.elapsed() < Duration::from_secs(120),
            "{name} was not sealed in two minutes"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Bytes of the manifest of a file that a job made from so many inputs.
fn manifest_size(lab: &Lab, mount: &Mount<'_>, number: usize) -> Result<usize> {
    for i in 0..number {
        lab.put(&format!("inputs-{number}/{i}"), &files::noise(i as u64, 64));
    }
    let program = format!(
        "import os\nwith open('out-{number}', 'wb') as out:\n    for n in sorted(os.listdir('inputs-{number}')):\n        out.write(open('inputs-{number}/' + n, 'rb').read())"
    );
    mount.python(&program).ok();
    mount.sync();
    Ok(mount.manifest(&format!("out-{number}")).len())
}
