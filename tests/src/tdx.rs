//! A simulated trust domain for one test: starts the real `atlas-tdx-sim`, and ends it. Not what a daemon makes of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::sandbox;

/// A simulator's kernel interfaces, mounted in the test's own namespace.
#[derive(Debug)]
pub struct TrustDomain {
    dir: TempDir,
    child: Child,
}

impl TrustDomain {
    /// Started, and answering. `args` as `atlas-tdx-sim run` knows them.
    pub fn start(args: &[&str]) -> Self {
        sandbox::enter();
        let dir = tempfile::Builder::new()
            .prefix("atlas-tdx-")
            .tempdir()
            .expect("a temporary directory");
        let mut child = Command::new(sandbox::program("atlas-tdx-sim"))
            .arg("run")
            .arg(dir.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator can be started: build the whole workspace");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out)
            .read_line(&mut line)
            .expect("it can be read");
        assert_eq!(line.trim(), "ready", "the simulator did not start");
        Self { dir, child }
    }

    /// A place of its own, below the simulator's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("it is UTF-8").to_owned()
    }

    /// The flags by which a daemon finds it.
    pub fn flags(&self) -> Vec<String> {
        [
            "--tsm-root".to_owned(),
            self.text("mnt/report"),
            "--mr-root".to_owned(),
            self.text("mnt/measurements"),
            "--ccel".to_owned(),
            self.text("mnt/ccel/CCEL"),
            "--collateral".to_owned(),
            self.text("collateral"),
        ]
        .into()
    }

    /// Its root certificate.
    pub fn root(&self) -> String {
        self.text("root.pem")
    }

    /// One command of `atlas-tdx-sim tell`.
    pub fn tell(&self, command: &str) {
        fs::write(self.path("mnt/control"), format!("{command}\n"))
            .unwrap_or_else(|e| panic!("tell {command:?}: {e}"));
    }

    /// A register, in hex.
    pub fn register(&self, name: &str) -> String {
        let bytes = fs::read(self.path("mnt/measurements").join(name)).expect("a register");
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reference values of what is booted, as a document in a file.
    pub fn reference(&self, to: &Path) {
        let registers = ["mrtd", "rtmr0", "rtmr1", "rtmr2"]
            .map(|r| (r, self.register(&format!("{r}:sha384"))))
            .into_iter()
            .chain([("mrconfigid", self.register("mrconfigid"))]);
        let registers: serde_json::Map<String, serde_json::Value> = registers
            .map(|(name, hex)| (name.to_owned(), hex.into()))
            .collect();
        let document =
            serde_json::json!({"v": 1, "name": "test image", "measurements": [registers]});
        fs::write(to, document.to_string()).expect("own directory");
    }
}

impl Drop for TrustDomain {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
