//! Filesystem, engine and mount put together: what `atlas-fs mount` starts. Decides nothing.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atlas_manifests::id::InstanceId;
use atlas_manifests::layout::NodeLock;

use crate::attest::gpu::GpuSource;
use crate::attest::keeper::{Settings, Wanted};
use crate::attest::tdx::Interfaces;
use crate::caller::RunsMode;
use crate::control::Handler;
use crate::descriptors::most_open;
use crate::engine::{Engine, StartOptions};
use crate::failure::{Failure, shown};
use crate::fuse;
use crate::logbook;
use crate::mount::checks::Ground;
use crate::mount::{Drained, Mounted, Parts, Plan, Writer};
use crate::options::{self, Io, KernelFlags, MountOptions, Runs, Tdx, Titles};
use crate::vfs::{self, IoMode, Options, Vfs};

/// Who can have fewer files open than this is told so.
const ENOUGH_OPEN: usize = 4096;

/// More digest workers than this only fight the job for cores.
const MOST_WORKERS: usize = 8;

/// The whole of Atlas behind a mount point.
#[derive(Debug, Clone, Copy)]
pub struct Whole;

impl Parts for Whole {
    fn check(&self, options: &MountOptions, ground: &Ground) -> Result<(), Failure> {
        if options.io == Io::Passthrough {
            vfs::required(&ground.source_fd)
                .map_err(|e| Failure::other(format!("{}: {e}", shown(&ground.source))))?;
        }
        let said = &options.evidence;
        for (flag, path) in [
            ("--witnesses", &options.log.witnesses),
            ("--event-log", &said.event_log),
            ("--collateral", &said.collateral),
            ("--gpu-evidence", &said.gpu_evidence),
            ("--tsm-root", &said.tsm_root),
            ("--mr-root", &said.mr_root),
            ("--ccel", &said.ccel),
        ] {
            let Some(path) = path else { continue };
            let real = path.canonicalize().or_else(|_| std::path::absolute(path));
            if real.is_ok_and(|p| p.starts_with(&ground.mountpoint)) {
                return Err(Failure::usage(format!(
                    "{flag} {}: lies below the mount point, where the daemon must not look: put it elsewhere",
                    shown(path)
                )));
            }
        }
        Ok(())
    }

    fn start(&self, plan: Plan) -> Result<Arc<dyn Mounted>, Failure> {
        let vfs = filesystem(&plan)?;
        let (options, kept) = start_options(plan, &vfs)?;
        let engine = Engine::start(options, Arc::clone(&vfs) as Arc<_>).map_err(Failure::other)?;
        let counted = Arc::downgrade(&vfs);
        engine.count_own_requests(Box::new(move || {
            counted.upgrade().map_or(0, |v| v.stats().self_requests)
        }));
        let mounted = match fuse::serve(&vfs, Arc::clone(&engine) as Arc<_>) {
            Ok(mounted) => mounted,
            Err(e) => {
                engine.stop();
                return Err(Failure::other(e));
            }
        };
        Ok(Arc::new(Live {
            engine,
            mounted,
            kept: Mutex::new(Some(kept)),
        }))
    }
}

fn filesystem(plan: &Plan) -> Result<Arc<Vfs>, Failure> {
    let ground = &plan.ground;
    Vfs::new(Options {
        source: ground.source.clone(),
        source_fd: Some(ground.source_fd.try_clone().map_err(Failure::other)?),
        mountpoint: ground.mountpoint.clone(),
        io: match plan.options.io {
            Io::Auto => IoMode::Auto,
            Io::Passthrough => IoMode::Passthrough,
            Io::Inline => IoMode::Inline,
        },
        read_only: ground.read_only,
        allow_other: plan.options.allow_other,
        threads: 0,
        fuse_options: kernel_options(&ground.kernel),
        hidden: ground
            .state
            .strip_prefix(&ground.source)
            .ok()
            .map(Into::into),
    })
    .map_err(Failure::other)
}

fn kernel_options(flags: &KernelFlags) -> Vec<String> {
    let named = [
        (!flags.nosuid, "suid"),
        (!flags.nodev, "dev"),
        (flags.noexec, "noexec"),
        (flags.noatime, "noatime"),
        (flags.sync, "sync"),
        (flags.dirsync, "dirsync"),
    ];
    named
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| name.to_owned())
        .collect()
}

fn start_options(plan: Plan, vfs: &Vfs) -> Result<(StartOptions, (Ground, NodeLock)), Failure> {
    let (ground, io) = (plan.ground, vfs.io());
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut config = plan.ready.config;
    if plan.options.sidecar {
        config.exclude.push("*.c2pa".to_owned());
    }
    let sidecars = if plan.options.sidecar {
        Some(ground.source_fd.try_clone().map_err(Failure::other)?)
    } else {
        None
    };
    let few = few_descriptors(&io).inspect(|w| tracing::warn!("{w}"));
    let warnings = ground.warnings.iter().cloned().chain(few).collect();
    let options = StartOptions {
        layout: plan.ready.layout,
        node: plan.lock.node(),
        authority: plan.ready.authority,
        instance: new_instance()?,
        source: ground.source.clone(),
        mountpoint: ground.mountpoint.clone(),
        state: ground.state.clone(),
        node_state: ground
            .node_state
            .clone()
            .unwrap_or_else(|| ground.state.join("nodes")),
        in_place: ground.in_place,
        socket: plan.socket,
        io: io.mode.to_string(),
        io_reason: io.reason,
        read_only: ground.read_only,
        digest_threads: plan
            .options
            .digest_threads
            .map_or_else(|| cores.min(MOST_WORKERS), NonZeroUsize::get),
        runs: match plan.options.runs {
            Runs::Auto => RunsMode::Auto,
            Runs::Tree => RunsMode::Tree,
        },
        config,
        titles_withheld: plan.options.titles == Titles::None,
        sidecars,
        evidence: evidence(&plan.options.evidence),
        authority_dir: ground.authority.clone(),
        log: log(&plan.options.log),
        warnings,
    };
    Ok((options, (ground, plan.lock)))
}

fn evidence(said: &options::Evidence) -> Settings {
    let usual = Interfaces::default();
    let gpu = said.gpu_evidence.clone().map(GpuSource::File);
    let command = said.gpu_evidence_command.as_ref();
    Settings {
        wanted: match said.tdx {
            Tdx::Auto => Wanted::Auto,
            Tdx::Require => Wanted::Require,
            Tdx::Off => Wanted::Off,
        },
        interfaces: Interfaces {
            tsm: said.tsm_root.clone().unwrap_or(usual.tsm),
            measurements: said.mr_root.clone().unwrap_or(usual.measurements),
            ccel: said.ccel.clone().unwrap_or(usual.ccel),
        },
        event_log: said.event_log.clone(),
        collateral: said.collateral.clone(),
        gpu: gpu.or_else(|| {
            command.map(|c| GpuSource::Command(vec!["/bin/sh".into(), "-c".into(), c.clone()]))
        }),
        image: said.image.clone(),
        explicit: said.explicit_quotes.clone(),
    }
}

fn log(said: &options::Log) -> logbook::Settings {
    logbook::Settings {
        origin: said.log_origin.clone(),
        register: said.log_register.clone(),
        witnesses: said.witnesses.clone(),
        public: said
            .rekor
            .clone()
            .zip(said.rekor_key.clone())
            .map(|(url, key)| logbook::Public {
                url,
                key,
                every: Duration::from_secs(said.rekor_interval),
            }),
    }
}

/// In inline mode each file that a job has open takes a descriptor of the daemon.
fn few_descriptors(io: &vfs::IoDecision) -> Option<String> {
    let most = most_open();
    (io.mode == vfs::Mode::Inline && most < ENOUGH_OPEN).then(|| {
        format!("the daemon's limit on descriptors leaves jobs {most} open files at a time, more are ENFILE: raise it (LimitNOFILE=, ulimit -Hn)")
    })
}

/// A new name for a new life: random, so that no two lives of any machine share it.
fn new_instance() -> Result<InstanceId, Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(Failure::other)?;
    Ok(InstanceId(id))
}

struct Live {
    engine: Arc<Engine>,
    mounted: vfs::Mounted,
    /// Holds the node's lock, and the descriptor behind an in-place mount.
    kept: Mutex<Option<(Ground, NodeLock)>>,
}

impl Mounted for Live {
    fn handler(&self) -> Arc<dyn Handler> {
        Arc::clone(&self.engine) as Arc<dyn Handler>
    }

    fn refuse_opens(&self, refuse: bool) {
        self.mounted.vfs().refuse_new_opens(refuse);
    }

    fn writers(&self) -> Vec<Writer> {
        let open = self
            .mounted
            .vfs()
            .open_handles()
            .into_iter()
            .filter(|h| h.writable);
        open.map(|h| Writer {
            path: h.path,
            pid: h.opener.0,
        })
        .collect()
    }

    fn drain(&self, at_most: Duration) -> Drained {
        let before = self.engine.sealed_so_far();
        let drained = self.engine.drain(at_most);
        Drained {
            sealed: drained.sealed.saturating_sub(before),
            left: drained.left,
        }
    }

    fn wait(&self) {
        if let Err(e) = self.mounted.wait() {
            tracing::error!("the session ended: {e}");
        }
    }

    fn stop(&self) {
        if let Err(e) = self.mounted.unmount(true) {
            tracing::warn!("detaching: {e}");
        }
        self.engine.stop();
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}
