//! The program: mounts a simulated TDX guest, tells it what to do, makes quotes by hand. A tool for tests; it protects nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use atlas_tdx_sim::machine::{Settings, millis};
use atlas_tdx_sim::{
    CollateralSpec, Command, Fmspc, Machine, Mounted, Shape, Simulator, TcbStatus, Td, World,
    WorldOptions, hex,
};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A simulated TDX guest for tests. Nothing that it signs is worth anything.
#[derive(Debug, Parser)]
#[command(name = "atlas-tdx-sim", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Mounts the guest's interfaces at DIR/mnt until SIGTERM or SIGINT; prints "ready" when they answer.
    Run(Run),
    /// Gives one command to the guest that runs on DIR.
    Tell {
        /// Where it runs.
        dir: PathBuf,
        /// fail ERRNO [N], hang MS [N], swap [N], race [N], race late [N], flip BYTE [N], calm, extend REGISTER HEX96, reboot,
        /// debug on|off, provider on|off, quote SHAPE, latency MS, pad LENGTH, truncate LENGTH|off, tcb STATUS.
        #[arg(required = true, num_args = 1..)]
        command: Vec<String>,
    },
    /// Makes a quote without a guest.
    Quote(Quote),
    /// Makes collateral without a guest.
    Collateral(Collateral),
}

#[derive(Debug, Args)]
struct Keys {
    /// Where the world's keys lie; made when there are none yet.
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// Kind of processor of a new world: twelve hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    fmspc: Option<Fmspc>,
    /// A new world's platform has hyper-threads on.
    #[arg(long)]
    smt: bool,
    /// A new world's platform can be extended.
    #[arg(long)]
    dynamic_platform: bool,
    /// A new world's platform has its keys kept by the registration service.
    #[arg(long)]
    cached_keys: bool,
}

impl Keys {
    fn world(&self, otherwise: Option<&Path>) -> Result<World> {
        let Some(dir) = self.pki.as_deref().or(otherwise) else {
            bail!("--pki says where the keys are");
        };
        if dir.join("world.json").exists() {
            let world = World::open(dir)?;
            let same = self
                .fmspc
                .is_none_or(|wanted| wanted == world.options().fmspc);
            if !same || self.smt || self.dynamic_platform || self.cached_keys {
                bail!(
                    "{} holds a world already: its platform is what it is",
                    dir.display()
                );
            }
            return Ok(world);
        }
        let options = WorldOptions {
            fmspc: self.fmspc.unwrap_or_default(),
            smt: self.smt,
            dynamic_platform: self.dynamic_platform,
            cached_keys: self.cached_keys,
        };
        World::create(dir, options, now())
    }
}

#[derive(Debug, Args)]
struct Run {
    /// A directory of its own: mnt, pki, root.pem and collateral go there.
    dir: PathBuf,
    #[command(flatten)]
    keys: Keys,
    /// Format of quotes: v4, v5, v5td15, v5td15ex.
    #[arg(long, default_value = "v4", value_name = "SHAPE")]
    quote: Shape,
    /// How long each takes: 4ms of work alone, 7ms with a patched driver, 1026ms with today's.
    #[arg(long, default_value = "4ms", value_name = "MS", value_parser = millis)]
    latency: Duration,
    /// The host can look into the guest.
    #[arg(long)]
    debug_td: bool,
    /// What collateral says about the platform.
    #[arg(long, default_value = "UpToDate", value_name = "STATUS")]
    tcb: TcbStatus,
    /// Zero bytes up to this length follow each quote, as on some clouds (8000).
    #[arg(long, default_value_t = 0, value_name = "LENGTH")]
    pad: usize,
    /// No measurements, as before Linux 6.16.
    #[arg(long)]
    no_rtmr: bool,
}

#[derive(Debug, Args)]
struct Quote {
    #[command(flatten)]
    keys: Keys,
    /// The 64 bytes that it is for.
    #[arg(long, value_name = "HEX128")]
    report_data: String,
    /// v4, v5, v5td15, v5td15ex.
    #[arg(long, default_value = "v4", value_name = "SHAPE")]
    quote: Shape,
    /// Of a guest that the host can look into.
    #[arg(long)]
    debug_td: bool,
    /// What the fourth register was extended with, in this order.
    #[arg(long, value_name = "HEX96")]
    extend: Vec<String>,
    /// Where to put it.
    #[arg(short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct Collateral {
    #[command(flatten)]
    keys: Keys,
    /// What it says about the platform.
    #[arg(long, default_value = "UpToDate", value_name = "STATUS")]
    tcb: TcbStatus,
    /// The PCK certificate is revoked.
    #[arg(long)]
    revoke_pck: bool,
    /// The revocation lists are old.
    #[arg(long)]
    crl_expired: bool,
    /// Where to put it.
    #[arg(short, value_name = "FILE")]
    output: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().what {
        What::Run(options) => run(&options),
        What::Tell { dir, command } => tell(&dir, &command.join(" ")),
        What::Quote(options) => quote(&options),
        What::Collateral(options) => collateral(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody is left to be told when this fails.
            let _ = writeln!(io::stderr(), "atlas-tdx-sim: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Run) -> Result<()> {
    // Before the mount: a signal that comes early must not leave it behind.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let dir = &options.dir;
    let mount_point = dir.join("mnt");
    fs::create_dir_all(&mount_point)
        .with_context(|| format!("cannot make {}", mount_point.display()))?;
    let world = options.keys.world(Some(&dir.join("pki")))?;
    let mut td = Td::default();
    td.set_debug(options.debug_td);
    let settings = Settings {
        shape: options.quote,
        latency: options.latency,
        pad: options.pad,
        truncate: None,
    };
    let spec = CollateralSpec::at(now()).status(options.tcb);
    let machine = Machine::new(world, td, settings, spec);
    let simulator = Arc::new(Simulator::published(machine, dir)?);
    let mounted = Mounted::start(simulator, &mount_point, !options.no_rtmr)
        .with_context(|| format!("cannot mount at {}", mount_point.display()))?;
    writeln!(io::stdout(), "ready")?;
    signals.forever().next();
    drop(mounted);
    Ok(())
}

fn tell(dir: &Path, command: &str) -> Result<()> {
    // The mount has only error numbers to answer with.
    command.parse::<Command>()?;
    let control = dir.join("mnt/control");
    OpenOptions::new()
        .write(true)
        .open(&control)
        .and_then(|mut file| file.write_all(command.as_bytes()))
        .with_context(|| format!("nobody listens at {}", control.display()))
}

fn quote(options: &Quote) -> Result<()> {
    let mut td = Td::default();
    td.set_debug(options.debug_td);
    for data in &options.extend {
        td.extend(3, &hex::decode_array(data)?);
    }
    let report_data = hex::decode_array(&options.report_data).context("--report-data")?;
    let world = options.keys.world(None)?;
    put(
        &options.output,
        &world.quote(options.quote, &td, &report_data)?,
    )
}

fn collateral(options: &Collateral) -> Result<()> {
    let mut spec = CollateralSpec::at(now()).status(options.tcb);
    spec.revoke_pck = options.revoke_pck;
    spec.crl_expired = options.crl_expired;
    let text = options.keys.world(None)?.collateral(&spec)?;
    put(&options.output, text.as_bytes())
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs() as i64)
}
