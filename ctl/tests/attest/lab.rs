//! A simulated trust domain, what was kept of it in a state directory, and the home of a user who checks it. Nothing of the machine is touched.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::{
    Beacon, Binding, BoundKey, Entry, Event, EventBody, EventLog, Evidence, KeyUse, Purpose, Rtmr,
};
use atlas_manifests::id::InstanceId;
use atlas_manifests::layout::Layout;
use atlas_manifests::store::{Item, Store};
use atlas_tdx_sim::{CollateralSpec, Shape, Td, World, ccel};
use serde_json::Value;

/// Root would read what is pinned for everybody as its own.
const NOBODY: u32 = 65534;
pub(crate) const CONFIG: &str = "io=inline\nname=\x1b[2J\n";
pub(crate) const INSTANCE: InstanceId = InstanceId([1; 16]);

static NOW: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
});
static WORLD: LazyLock<World> = LazyLock::new(|| World::new(*NOW).unwrap());

/// A month's collateral, this many days from now.
pub(crate) fn collateral(days: i64) -> String {
    let spec = CollateralSpec::at(*NOW + days * 86_400);
    WORLD.collateral(&spec).unwrap()
}

/// Honest evidence, after another one or the first of its instance.
pub(crate) fn evidence(
    purpose: Purpose,
    before: Option<&Evidence>,
    nonce: Option<&[u8]>,
    collateral: Option<&str>,
) -> Evidence {
    let keys = vec![
        BoundKey::of(KeyUse::Seal, &[0x51; 32]),
        BoundKey::of(KeyUse::Log, &[0x52; 32]),
    ];
    let head = before.map(|b| b.events.as_ref().unwrap().head());
    let seq = before.map_or(0, |b| b.bound().unwrap().seq + 1);
    let config = Sha256::of(CONFIG.as_bytes());
    let program = Sha256([5; 32]);
    let body = match before {
        None => EventBody::Start {
            seal_key: keys[0].spki,
            log_key: keys[1].spki,
            config,
            program,
        },
        Some(before) => EventBody::Anchor {
            seq,
            previous: before.id(),
        },
    };
    let event = Event {
        instance: INSTANCE,
        seq,
        body,
    };
    let log = EventLog {
        from: head.map_or(0, |h| h.count),
        base: head.map_or(Rtmr::ZERO, |h| h.rtmr3),
        entries: vec![Entry::Event(event.encode())],
    };
    let mut td = Td::default();
    td.rtmr[3] = log.head().rtmr3.0;
    let made = jiff::Timestamp::from_second(*NOW + i64::try_from(seq).unwrap());
    let binding = Binding {
        purpose,
        instance: INSTANCE,
        seq,
        made: made.unwrap().to_string(),
        previous: before.map(Evidence::id),
        keys,
        log: None,
        events: Some(log.head()),
        config,
        program,
        image: Some("image\x1b[2J".to_owned()),
        gpu: None,
        beacon: nonce.map(|n| Beacon::Nonce(n.to_vec())),
        claim: None,
    };
    let report_data = binding.report_data();
    let events = ccel::boot_events();
    Evidence {
        quote: WORLD.quote(Shape::V4, &td, &report_data).unwrap(),
        binding: binding.encode(),
        events: Some(log),
        ccel: before.is_none().then(|| ccel::log(&events)),
        gpu: None,
        collateral: collateral.map(|c| Sha256::of(c.as_bytes())),
    }
}

/// The home of a user. `root.pem` is the simulator's; `source` is a backing directory.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        let layout = Layout::create(&source.join(".atlas"), None).unwrap();
        let store = Store::open(&layout);
        let home = Self { dir, store };
        home.put("root.pem", WORLD.root_pem());
        home.own("");
        home
    }

    /// An instance's first evidence and one anchor, kept with their collateral.
    pub(crate) fn attested() -> (Self, Evidence, Evidence) {
        let home = Self::new();
        let json = collateral(0);
        let first = evidence(Purpose::Instance, None, None, Some(&json));
        let anchor = evidence(Purpose::Anchor, Some(&first), None, Some(&json));
        home.keep(&[&first, &anchor], Some(&json));
        (home, first, anchor)
    }

    pub(crate) fn keep(&self, all: &[&Evidence], collateral: Option<&str>) {
        for evidence in all {
            self.store.put(&Item::evidence(evidence)).unwrap();
        }
        if let Some(json) = collateral {
            let item = Item::collateral(json.as_bytes().to_vec());
            self.store.put(&item).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
        self.own(name);
    }

    pub(crate) fn own(&self, name: &str) {
        if rustix::process::geteuid().is_root() {
            chown(self.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    pub(crate) fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasctl"));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let home: &Path = self.dir.path();
        command.args(args).current_dir(home);
        command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
        command.env("XDG_RUNTIME_DIR", self.path("run"));
        command.output().unwrap()
    }

    /// Standard output of a command that ends with this code.
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {out:?}");
        let text = String::from_utf8(out.stdout).unwrap();
        let unsafe_to_show = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(unsafe_to_show), "{text:?}");
        text
    }

    pub(crate) fn json(&self, code: i32, args: &[&str]) -> Value {
        let text = self.ends(code, &[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// The one line of a command that ends with this code and prints nothing.
    pub(crate) fn refused(&self, code: i32, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {out:?}");
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.stdout.len(), text.lines().count()), (0, 1), "{text}");
        text
    }

    /// Believes what was booted in this evidence, which lies in a file.
    pub(crate) fn believe(&self, file: &str) {
        let draft = self.ends(0, &["reference", "draft", file, "--name", "image 1"]);
        self.put("image.json", draft);
        self.ends(0, &["reference", "add", "image.json", "--unsigned"]);
    }

    /// `attest verify` by somebody who knows the simulator, and lets it pass.
    pub(crate) fn verified(&self, code: i32, file: &str, more: &[&str]) -> String {
        let base = [
            "attest",
            "verify",
            file,
            "--simulated-root",
            "root.pem",
            "--allow-simulated",
        ];
        self.ends(code, &[&base, more].concat())
    }
}
