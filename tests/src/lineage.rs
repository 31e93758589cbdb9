//! `atlasctl lineage --json` (CONTRACTS 7), read strictly: a missing or misspelt field is a failure. Not the types of the program.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A lineage graph.
#[derive(Debug)]
pub struct Lineage {
    /// The whole answer.
    pub json: Value,
    /// The version that was asked for.
    pub root: String,
    /// By id.
    pub nodes: BTreeMap<String, Node>,
    /// All of them.
    pub edges: Vec<Edge>,
}

/// A version, content or set.
#[derive(Debug, Clone)]
pub struct Node {
    /// Below SOURCE.
    pub path: String,
    /// See `State`.
    pub state: String,
    /// BLAKE3, when known.
    pub digest: Option<String>,
    /// SHA-256, when known.
    pub sha256: Option<String>,
    /// `explicit`, `exit`, `killed`, or nothing for inputs.
    pub closed: Option<String>,
    /// Who wrote it.
    pub run: Option<String>,
    /// Whether it has a manifest.
    pub attested: bool,
}

/// From an output to one of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The output.
    pub from: String,
    /// The input.
    pub to: String,
    /// `read`, `opened`, `parent`, `set`, `code`.
    pub kind: String,
    /// `copied`, `same-process`, `process-tree`, `run`.
    pub grade: String,
}

impl Lineage {
    /// Reads the answer.
    pub fn of(json: Value) -> Self {
        let nodes: BTreeMap<_, _> = list(&json, "nodes")
            .iter()
            .map(|n| {
                let node = Node {
                    path: maybe(n, "path")
                        .unwrap_or_default()
                        .trim_start_matches('/')
                        .to_owned(),
                    state: word(n, "state"),
                    digest: maybe(n, "digest"),
                    sha256: maybe(n, "sha256"),
                    closed: maybe(n, "closed"),
                    run: maybe(n, "run"),
                    attested: n["attested"].as_bool().expect("`attested` is a bool"),
                };
                assert!(n["size"].is_u64() || n["size"].is_null(), "`size` in {n}");
                (word(n, "id"), node)
            })
            .collect();
        let edges: Vec<_> = list(&json, "edges")
            .iter()
            .map(|e| Edge {
                from: word(e, "from"),
                to: word(e, "to"),
                kind: word(e, "kind"),
                grade: word(e, "grade"),
            })
            .collect();
        for edge in &edges {
            assert!(
                nodes.contains_key(&edge.from) && nodes.contains_key(&edge.to),
                "{edge:?} leads out of the graph"
            );
            assert!(edge.from != edge.to, "{edge:?} is a self-loop");
        }
        let root = word(&json, "root");
        assert!(nodes.contains_key(&root), "the root {root} is no node");
        assert!(!list(&json, "roots").is_empty(), "no roots");
        Self {
            root,
            nodes,
            edges,
            json,
        }
    }

    /// Paths of the direct inputs of the root; programs aside.
    pub fn inputs(&self) -> BTreeSet<String> {
        self.inputs_of(&self.root)
    }

    /// Paths of the direct inputs of a node; programs aside.
    pub fn inputs_of(&self, node: &str) -> BTreeSet<String> {
        self.edges
            .iter()
            .filter(|e| e.from == node && e.kind != "code")
            .map(|e| self.nodes[&e.to].path.clone())
            .collect()
    }

    /// The edge from the root to the input with this path; there must be one.
    pub fn edge(&self, path: &str) -> &Edge {
        let mut found = self
            .edges
            .iter()
            .filter(|e| e.from == self.root && self.nodes[&e.to].path == path);
        let edge = found
            .next()
            .unwrap_or_else(|| panic!("no edge to {path}: {}", self.json));
        assert!(found.next().is_none(), "two edges to {path}: {}", self.json);
        edge
    }

    /// The root's node.
    pub fn root(&self) -> &Node {
        &self.nodes[&self.root]
    }

    /// The only node with this path.
    pub fn node(&self, path: &str) -> (&String, &Node) {
        let mut found = self.nodes.iter().filter(|(_, n)| n.path == path);
        let node = found
            .next()
            .unwrap_or_else(|| panic!("no node {path}: {}", self.json));
        assert!(found.next().is_none(), "two nodes {path}: {}", self.json);
        node
    }
}

/// A set of names, for comparing with `inputs`.
pub fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a Vec<Value> {
    value[field]
        .as_array()
        .unwrap_or_else(|| panic!("`{field}` is no list in {value}"))
}

fn word(value: &Value, field: &str) -> String {
    maybe(value, field).unwrap_or_else(|| panic!("`{field}` is missing in {value}"))
}

fn maybe(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}
