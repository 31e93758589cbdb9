//! A real mount with the real engine, in this process: what a job reads and writes is sealed with its inputs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use atlas_fs::caller::RunsMode;
use atlas_fs::config::Config;
use atlas_fs::engine::{Engine, StartOptions};
use atlas_fs::vfs::{IoMode, Mounted, Options, Vfs};
use atlas_manifests::authority::Authority;
use atlas_manifests::id::InstanceId;
use atlas_manifests::index::Index;
use atlas_manifests::layout::Layout;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::shelf::Catalogue as _;
use atlas_manifests::vocabulary::{Kind, State};

struct Mount {
    engine: Arc<Engine>,
    mounted: Option<Mounted>,
    dir: tempfile::TempDir,
}

impl Mount {
    fn new(io: IoMode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, point) = (dir.path().join("source"), dir.path().join("mount"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&point).unwrap();
        Self::at(dir, io, 1)
    }

    fn at(dir: tempfile::TempDir, io: IoMode, life: u8) -> Self {
        let (source, point) = (dir.path().join("source"), dir.path().join("mount"));
        let layout = Layout::create(&source.join(".atlas"), None).unwrap();
        let lock = layout.claim().unwrap();
        let node = lock.node();
        let keys = dir.path().join("authority");
        let authority = Authority::open(&keys)
            .unwrap()
            .unwrap_or_else(|| Authority::create(&keys).unwrap());
        let options = Options {
            source: source.clone(),
            mountpoint: point.clone(),
            io,
            ..Options::default()
        };
        let vfs = Vfs::new(options).unwrap();
        let engine = Engine::start(
            StartOptions {
                layout,
                node,
                authority,
                instance: InstanceId([life; 16]),
                source,
                mountpoint: point,
                socket: dir.path().join("sock"),
                io: vfs.io().mode.to_string(),
                io_reason: vfs.io().reason,
                read_only: false,
                digest_threads: 2,
                runs: RunsMode::Tree,
                config: Config::default(),
                titles_withheld: false,
                sidecars: None,
                state: dir.path().join("source/.atlas"),
                node_state: dir.path().join("source/.atlas/nodes"),
                in_place: false,
                evidence: atlas_fs::attest::keeper::Settings {
                    wanted: atlas_fs::attest::keeper::Wanted::Off,
                    ..Default::default()
                },
                authority_dir: keys,
                log: atlas_fs::logbook::Settings::default(),
                warnings: Vec::new(),
            },
            Arc::clone(&vfs) as Arc<_>,
        )
        .unwrap();
        let mounted = atlas_fs::fuse::serve(&vfs, Arc::clone(&engine) as Arc<_>).unwrap();
        drop(lock);
        Self {
            engine,
            mounted: Some(mounted),
            dir,
        }
    }

    fn point(&self) -> std::path::PathBuf {
        self.dir.path().join("mount")
    }

    fn sh(&self, script: &str) {
        let out = Command::new("sh")
            .arg("-c")
            .arg(script)
            .current_dir(self.point())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// Waits until everything is sealed, and unmounts; then the index is read as any other program would read it.
    fn settle(&mut self) -> Index {
        let drained = self.engine.drain(Duration::from_secs(20));
        assert_eq!(drained.left, 0, "{drained:?}");
        drop(self.mounted.take());
        self.engine.stop();
        Index::open_read_only(self.engine.index().path()).unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(self.mounted.take());
        self.engine.stop();
    }
}

fn row(index: &Index, path: &str) -> VersionRow {
    let rows = index.by_path(Path::new(path)).unwrap();
    rows.into_iter()
        .rfind(|r| !r.gone)
        .unwrap_or_else(|| panic!("no row for {path}"))
}

fn inputs(index: &Index, row: &VersionRow) -> Vec<(String, Kind)> {
    let uses = index.uses(row.run.unwrap(), row.inputs).unwrap();
    let mut out: Vec<_> = uses
        .into_iter()
        .map(|u| (u.path.unwrap().lossy(), u.kind))
        .collect();
    out.sort();
    out
}

fn read_before_write(io: IoMode, kind: Kind) {
    let mut m = Mount::new(io);
    fs::write(m.dir.path().join("source/data.txt"), "one\ntwo\n").unwrap();
    m.sh("exec awk '{print $1 $1}' data.txt > out.txt");
    let on_disk = fs::read(m.dir.path().join("source/out.txt")).unwrap();
    let index = m.settle();
    let out = row(&index, "out.txt");
    assert_eq!(out.state, State::Logged, "{out:?}");
    assert_eq!(
        out.digests.unwrap(),
        atlas_manifests::digest::Digests::of(&on_disk)
    );
    assert_eq!(inputs(&index, &out), [("data.txt".to_owned(), kind)]);
}

#[test]
fn an_output_names_the_input_that_was_opened_before_it_passthrough() {
    read_before_write(IoMode::Passthrough, Kind::Opened);
}

#[test]
fn an_output_names_the_input_that_was_read_before_it_inline() {
    read_before_write(IoMode::Inline, Kind::Read);
}
