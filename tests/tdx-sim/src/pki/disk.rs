//! A world in a directory: PEM files and one of JSON. Not a key store: the keys lie there as they are, for root's eyes only.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Key, Party, World, WorldOptions};

/// What no certificate says in a form that this crate reads.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    now: i64,
    options: WorldOptions,
}

const FORMAT: u32 = 1;
const DESCRIPTION: &str = "world.json";
const ATTESTATION: &str = "attestation.key";

pub(super) fn save(world: &World, dir: &Path) -> Result<()> {
    if dir.join(DESCRIPTION).exists() {
        bail!("{} holds a world already", dir.display());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (name, party) in parties(world) {
        write(&dir.join(format!("{name}.pem")), 0o644, &party.pem)?;
        write(&dir.join(format!("{name}.key")), 0o600, &party.key.pem())?;
    }
    write(&dir.join(ATTESTATION), 0o600, &world.attestation.pem())?;
    let description = Description {
        format: FORMAT,
        now: world.now,
        options: world.options.clone(),
    };
    // Last: a directory without it holds no world.
    let text = serde_json::to_string_pretty(&description)?;
    write(&dir.join(DESCRIPTION), 0o644, &text)
}

pub(super) fn load(dir: &Path) -> Result<World> {
    let description: Description = serde_json::from_str(&read(&dir.join(DESCRIPTION))?)
        .with_context(|| format!("{} holds no world", dir.display()))?;
    ensure!(
        description.format == FORMAT,
        "a world of format {}, which this program does not know",
        description.format
    );
    Ok(World {
        now: description.now,
        options: description.options,
        root: party(dir, "root")?,
        platform: party(dir, "platform")?,
        pck: party(dir, "pck")?,
        tcb: party(dir, "tcb")?,
        attestation: Key::from_pem(&read(&dir.join(ATTESTATION))?)?,
    })
}

fn parties(world: &World) -> [(&'static str, &Party); 4] {
    [
        ("root", &world.root),
        ("platform", &world.platform),
        ("pck", &world.pck),
        ("tcb", &world.tcb),
    ]
}

fn party(dir: &Path, name: &str) -> Result<Party> {
    let pem = read(&dir.join(format!("{name}.pem")))?;
    pem::parse(&pem).with_context(|| format!("{name}.pem is no certificate"))?;
    let key = Key::from_pem(&read(&dir.join(format!("{name}.key")))?)
        .with_context(|| format!("{name}.key is no key"))?;
    Ok(Party { key, pem })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let open = || -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        options.open(path)
    };
    open()
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_world_read_back_is_the_same_and_its_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let made = World::create(dir.path(), WorldOptions::default(), 1_800_000_000).unwrap();
        let read = World::open(dir.path()).unwrap();
        assert_eq!(made.root_pem(), read.root_pem());
        assert_eq!(made.pck_chain(), read.pck_chain());
        assert_eq!(made.attestation.point(), read.attestation.point());
        assert!(World::create(dir.path(), WorldOptions::default(), 0).is_err());
        for name in ["root", "platform", "pck", "tcb", "attestation"] {
            let meta = fs::metadata(dir.path().join(format!("{name}.key"))).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}.key");
        }
    }
}
