//! Compares the lineages that a mount tells with the true ones: every sealed digest, every edge. Executes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::trees::names;
use super::truth::{Id, Truth};
use crate::lineage::{Edge, Lineage};
use crate::{Mount, files};

/// Contents that were kept, by number: SHA-256 as coreutils say.
fn sums(copies: &Path) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    let mut all: Vec<_> = fs::read_dir(copies)
        .expect("own directory")
        .flatten()
        .collect();
    all.sort_by_key(fs::DirEntry::path);
    for part in all.chunks(500) {
        let mut command = std::process::Command::new("sha256sum");
        command.args(part.iter().map(fs::DirEntry::path));
        let out = command.output().expect("coreutils are there");
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let (sum, path) = line.split_once("  ").expect("sum and name");
            let name = path.rsplit('/').next().expect("a name");
            found.insert(name.parse().expect("a number"), format!("sha256:{sum}"));
        }
    }
    found
}

/// All that `atlasctl lineage` says, of every file and of every content that was ever closed.
#[derive(Default)]
struct Told {
    /// SHA-256 of each node that has one.
    nodes: BTreeMap<String, Option<String>>,
    /// All that was said of it.
    said: BTreeMap<String, String>,
    attested: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Told {
    fn learn(&mut self, lineage: &Lineage) {
        for (id, node) in &lineage.nodes {
            self.nodes.insert(id.clone(), node.sha256.clone());
            self.said.insert(id.clone(), format!("{node:?}"));
            if node.attested && lineage.json["roots"].to_string().contains(id) {
                self.attested.insert(id.clone());
            }
        }
        let roots = lineage.json["roots"].as_array().expect("a list");
        let from_root = |e: &&Edge| roots.iter().any(|r| r.as_str() == Some(&*e.from));
        for edge in lineage.edges.iter().filter(from_root) {
            self.edges
                .entry(edge.from.clone())
                .or_default()
                .insert(edge.to.clone());
        }
    }
}

/// Compares what the mount says with what is true: `copies` are the bytes at each close, `plain` is the tree beside the mount. What
/// is wrong, if anything is.
pub fn check(truth: &Truth, copies: &Path, plain: &Path, mount: &Mount<'_>) -> Result<(), String> {
    let sums = sums(copies);
    let sum = |id: Id| truth.versions[id].copy.map(|c| sums[&c].clone());
    let mut told = Told::default();
    let mut live = 0;
    for name in names(plain) {
        let meta = fs::symlink_metadata(plain.join(&name)).expect("it is there");
        if !meta.is_file() || meta.size() == 0 {
            continue;
        }
        let Some(id) = truth.current(i128::from(meta.ino())) else {
            continue;
        };
        let path = format!("w/{name}");
        let state = mount.attribute(&path, "user.atlas.state");
        let wanted = if truth.versions[id].given {
            "unattested"
        } else {
            "logged"
        };
        if state.as_deref() != Some(wanted) {
            return Err(format!(
                "{name} is {state:?} and not {wanted}\n{}\n{}",
                mount.ctl(&["show", &path]).stdout,
                truth.story(&BTreeSet::from([id]))
            ));
        }
        live += 1;
        if truth.versions[id].given {
            // Whether somebody had a reason to digest it is not asked here.
            continue;
        }
        mount.verify(&path, 0);
        let lineage = mount.lineage(&path);
        assert_eq!(
            lineage.root().sha256,
            sum(id),
            "{name} is not what it was when it was closed"
        );
        assert_eq!(
            lineage.root().sha256.as_deref(),
            Some(&*files::sha256sum(&plain.join(&name))),
            "{name} is not as it is"
        );
    }
    // Each by itself: a walk shows no edge twice, and none that leads back to where it came from.
    let ended = truth.versions.iter().filter(|v| v.ended);
    let wanted: BTreeSet<&String> = ended.filter_map(|v| sums.get(&v.copy?)).collect();
    for digest in wanted {
        let answer = mount.ctl(&["lineage", "--json", "--all", "--depth", "1", digest]);
        if answer.code == 0 {
            told.learn(&Lineage::of(answer.json()));
        }
    }
    let mut found = 0;
    for id in told
        .attested
        .iter()
        .filter(|id| id.starts_with("urn:atlas:v:"))
    {
        let Some(digest) = &told.nodes[id] else {
            continue;
        };
        let candidates: Vec<Id> = (0..truth.versions.len())
            .filter(|v| truth.versions[*v].ended && sum(*v).as_ref() == Some(digest))
            .collect();
        assert!(
            !candidates.is_empty(),
            "{id} seals {digest}, which no file was at a close"
        );
        let empty = BTreeSet::new();
        let edges = told.edges.get(id).unwrap_or(&empty);
        let wrong: Vec<String> = candidates
            .iter()
            .filter_map(|v| differs(truth, &sum, *v, edges, &told))
            .collect();
        if wrong.len() == candidates.len() {
            let said = mount.ctl(&["show", "--json", digest]).stdout;
            return Err(format!("{id} ({digest}):\n{}\n{said}", wrong.join("\n")));
        }
        found += 1;
    }
    if live == 0 || found == 0 {
        return Err(format!("{live} files and {found} versions prove nothing"));
    }
    Ok(())
}

/// What was said elsewhere of the contents that are missing.
fn missing_nodes(missing: &[&Id], sum: &dyn Fn(Id) -> Option<String>, told: &Told) -> String {
    let all = missing.iter().filter_map(|i| sum(**i));
    let nodes = all.flat_map(|s| {
        told.nodes
            .iter()
            .filter(move |(_, d)| d.as_ref() == Some(&s))
    });
    nodes
        .map(|(id, _)| format!("  known as {id}: {}\n", told.said[id]))
        .collect()
}

/// Why these edges are not those of a version.
fn differs(
    truth: &Truth,
    sum: &dyn Fn(Id) -> Option<String>,
    id: Id,
    edges: &BTreeSet<String>,
    told: &Told,
) -> Option<String> {
    let v = &truth.versions[id];
    let named: BTreeSet<String> = edges.iter().filter_map(|e| told.nodes[e].clone()).collect();
    let nameless = edges.iter().filter(|e| told.nodes[*e].is_none()).count();
    let may: BTreeSet<String> = v
        .inputs
        .iter()
        .chain(&v.maybe)
        .filter_map(|i| sum(*i))
        .collect();
    let invented: Vec<_> = named.difference(&may).collect();
    if !invented.is_empty() {
        let mut about = BTreeSet::from([id]);
        about.extend(
            (0..truth.versions.len()).filter(|v| sum(*v).is_some_and(|s| invented.contains(&&s))),
        );
        let said = edges.iter().filter(|e| {
            told.nodes[*e]
                .as_ref()
                .is_some_and(|d| invented.contains(&d))
        });
        let said: Vec<String> = said.map(|e| format!("  {e}: {}\n", told.said[e])).collect();
        return Some(format!(
            "version {id}: invented\n{}{}",
            said.concat(),
            truth.story(&about)
        ));
    }
    // What ended and is still there has a digest; what was overwritten or removed may have gone before it had one.
    let must = v.inputs.iter().filter(|i| {
        let input = &truth.versions[**i];
        (input.ended || input.given) && !input.lost
    });
    let missing: Vec<_> = must
        .filter(|i| sum(**i).is_some_and(|s| !named.contains(&s)))
        .collect();
    if !missing.is_empty() {
        let about = missing.iter().copied().copied().chain([id]).collect();
        let nameless: Vec<&String> = edges
            .iter()
            .filter(|e| told.nodes[*e].is_none())
            .map(|e| &told.said[e])
            .collect();
        return Some(format!(
            "version {id}: misses {missing:?}, nameless: {nameless:?}\n{}{}",
            missing_nodes(&missing, sum, told),
            truth.story(&about)
        ));
    }
    let lost = v.inputs.iter().filter(|i| {
        let input = &truth.versions[**i];
        (input.ended || input.given) && sum(**i).is_some_and(|s| !named.contains(&s))
    });
    let lost = lost.count();
    (lost > nameless).then(|| {
        let about = v
            .inputs
            .iter()
            .copied()
            .filter(|i| sum(*i).is_some_and(|s| !named.contains(&s)));
        let story = truth.story(&about.chain([id]).collect());
        format!(
            "version {id}: {lost} inputs vanished, {nameless} are named without digest\n{story}"
        )
    })
}
