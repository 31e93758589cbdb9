//! An authority, a daemon, its node's log and a verifier. Tests spoil one thing each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use atlas_manifests::authority::Authority;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::LogHead;
use atlas_manifests::evidence::appraise::{Appraiser, Clock};
use atlas_manifests::id::{InstanceId, NodeId};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use atlas_manifests::log::operator::LogKey;
use atlas_manifests::log::proof::Proof;
use atlas_manifests::merkle::{self, Subtrees, leaf_hash, node_hash};
use atlas_manifests::read;
use atlas_manifests::seal::Sealer;
use atlas_manifests::set::empty_head;
use atlas_manifests::shelf::{Entry, Logged, Object, Shelf, ShelfError};
use atlas_manifests::statement::{Input, SetHead, Statement};
use atlas_manifests::trust::Anchors;
use atlas_manifests::verify::{Code, FileVerdict, LogTerms, Memo, Terms};
use atlas_manifests::vocabulary::Tier;
use ed25519_dalek::Signer as _;

use super::house::{given, judge};
use super::statements::plain;

pub(crate) const NOW: u64 = 1_795_694_400;
pub(crate) const INSTANCE: InstanceId = InstanceId([1; 16]);
pub(crate) const ORIGIN: &str = "log.example/a";

/// Leaves, all of which are hashed for each answer.
#[derive(Default, Clone)]
pub(crate) struct Tree(pub(crate) Vec<Vec<u8>>);

impl Subtrees for Tree {
    type Error = Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, Infallible> {
        if level == 0 {
            return Ok(leaf_hash(&self.0[index as usize]));
        }
        Ok(node_hash(
            &self.subtree(level - 1, index * 2)?,
            &self.subtree(level - 1, index * 2 + 1)?,
        ))
    }
}

impl Tree {
    pub(crate) fn push(&mut self, leaf: &Leaf) -> u64 {
        self.0.push(leaf.encode());
        self.0.len() as u64 - 1
    }

    pub(crate) fn head(&self) -> SetHead {
        let size = self.0.len() as u64;
        let root = merkle::root(self, size).unwrap();
        SetHead { size, root }
    }
}

/// A key that anybody could make.
pub(crate) struct Pen {
    pub(crate) key: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl Pen {
    pub(crate) fn of(name: &str, kind: KeyKind, seed: u8) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let public = secret.verifying_key().to_bytes();
        let key = VerifierKey::new(name, kind, public).unwrap();
        Self { key, secret }
    }

    pub(crate) fn witness(name: &str, seed: u8) -> Self {
        Self::of(name, KeyKind::Cosignature, seed)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }

    /// Signs a checkpoint as a log does.
    pub(crate) fn add(&self, checkpoint: &mut Checkpoint) {
        let bytes = self.sign(checkpoint.note.text.as_bytes());
        checkpoint.note.add(self.key.line(bytes.to_vec()));
    }

    pub(crate) fn cosign(&self, checkpoint: &mut Checkpoint, time: u64) {
        let sign = |m: &[u8]| self.sign(m);
        let line = atlas_manifests::log::cosignature::cosign(&self.key, checkpoint, time, sign);
        checkpoint.note.add(line);
    }
}

type Change = dyn Fn(&mut Logged) + Send;
type Resign = dyn Fn(&mut Checkpoint) + Send;

/// A store with a log. What it shows can be changed on the way.
pub(crate) struct Town {
    dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) log: LogKey,
    pub(crate) sealer: Sealer,
    pub(crate) objects: RefCell<BTreeMap<(String, Sha256), Vec<u8>>>,
    pub(crate) tree: Tree,
    /// The head that is shown; the whole tree's when it is absent.
    pub(crate) size: Option<u64>,
    /// The log still has what is beyond that head, and proves it.
    pub(crate) goes_on: bool,
    pub(crate) keys: String,
    pub(crate) live: bool,
    /// What is done to each checkpoint after the log signed it.
    pub(crate) resign: Box<Resign>,
    /// What is done to everything that is shown.
    pub(crate) change: Box<Change>,
    /// No answer for growth.
    pub(crate) mute: bool,
    pub(crate) terms: Terms,
}

impl Town {
    pub(crate) fn new() -> Self {
        Self::with(|authority| Sealer::new(authority.issue(INSTANCE).unwrap()).unwrap())
    }

    pub(crate) fn with(seal: impl FnOnce(&Authority) -> Sealer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("authority")).unwrap();
        let node = plain().version.node;
        let log = LogKey::open_or_create(&authority, &dir.path().join("authority"), node, ORIGIN)
            .unwrap();
        let mut terms = Terms::of(Anchors::from_pem(authority.certificate_pem()).unwrap());
        terms.appraiser = Appraiser {
            clock: Clock(NOW),
            ..Appraiser::default()
        };
        Self {
            sealer: seal(&authority),
            keys: format!("{}\n", log.verifier_key()),
            dir,
            authority,
            log,
            objects: RefCell::default(),
            tree: Tree::default(),
            size: None,
            goes_on: false,
            live: true,
            resign: Box::new(|_| {}),
            change: Box::new(|_| {}),
            mute: false,
            terms,
        }
    }

    pub(crate) fn remember(&mut self) -> PathBuf {
        let dir = self.dir.path().join("heads");
        self.terms.log = LogTerms {
            heads: Some(dir.clone()),
            ..LogTerms::default()
        };
        dir
    }

    pub(crate) fn statement() -> Statement {
        Statement {
            inputs: Vec::new(),
            input_set: empty_head(),
            ..plain()
        }
    }

    pub(crate) fn seal(&self, said: &Statement) -> Vec<u8> {
        let sealed = self.sealer.seal(said).unwrap();
        self.objects.borrow_mut().insert(
            ("Manifest".to_owned(), sealed.reference.sha256),
            sealed.manifest.clone(),
        );
        sealed.manifest
    }

    pub(crate) fn leaf(manifest: &[u8]) -> Leaf {
        Leaf::Manifest {
            manifest: Sha256::of(manifest),
            instance: INSTANCE,
        }
    }

    /// Sealed, and logged between two others.
    pub(crate) fn logged(&mut self) -> Vec<u8> {
        let manifest = self.seal(&Self::statement());
        self.tree.push(&Self::leaf(b"before"));
        self.tree.push(&Self::leaf(&manifest));
        self.tree.push(&Self::leaf(b"after"));
        manifest
    }

    /// A child of a logged parent, both logged: the child's manifest, and the parent's.
    pub(crate) fn family(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut parent = Self::statement();
        parent.version.n = 7;
        parent.asset.digests = Digests::of(b"a parent");
        let parent_bytes = self.seal(&parent);
        let mut child = Self::statement();
        child.inputs = vec![Input {
            digests: Some(parent.asset.digests),
            manifest: Some(atlas_manifests::statement::ManifestRef {
                sha256: Sha256::of(&parent_bytes),
                size: parent_bytes.len() as u64,
            }),
            ..super::statements::input(7)
        }];
        let child = self.seal(&child);
        self.tree.push(&Self::leaf(&parent_bytes));
        self.tree.push(&Self::leaf(&child));
        (child, parent_bytes)
    }

    /// The log's own head over so many leaves.
    pub(crate) fn checkpoint_of(&self, tree: &Tree) -> Checkpoint {
        let mut made = Checkpoint::of(LogHead {
            origin: ORIGIN.to_owned(),
            head: tree.head(),
        })
        .unwrap();
        let line = self.log.sign(made.note.text.as_bytes()).to_vec();
        made.note.add(self.log.verifier_key().line(line));
        (self.resign)(&mut made);
        made
    }

    fn shown(&self) -> Tree {
        let mut tree = self.tree.clone();
        tree.0
            .truncate(self.size.map_or(usize::MAX, |s| s as usize));
        tree
    }

    pub(crate) fn prove(&self, index: u64, extra: Option<Vec<u8>>) -> Vec<u8> {
        let tree = self.shown();
        let checkpoint = self.checkpoint_of(&tree);
        Proof {
            extra,
            index,
            hashes: merkle::inclusion(&tree, index, checkpoint.head.head.size).unwrap(),
            checkpoint,
        }
        .encode()
    }

    pub(crate) fn verify(&self, manifest: &[u8]) -> FileVerdict {
        self.verify_with(manifest, &mut Memo::default())
    }

    pub(crate) fn verify_with(&self, manifest: &[u8], memo: &mut Memo) -> FileVerdict {
        judge(self, &self.terms, &given(manifest), memo)
    }
}

impl Shelf for Town {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        let key = (format!("{kind:?}"), *name);
        Ok(self.objects.borrow().get(&key).cloned())
    }

    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        let objects = self.objects.borrow();
        let about = objects.iter().filter(|((kind, _), m)| {
            kind == "Manifest" && read::peek(m).is_ok_and(|s| s.asset.digests == *asset)
        });
        Ok(about.map(|((_, name), _)| *name).collect())
    }

    fn transparency(&self, entry: &Entry) -> Result<Option<Logged>, ShelfError> {
        let (mut proof, mut leaves) = (None, Vec::new());
        for (at, bytes) in self.shown().0.iter().enumerate() {
            match Leaf::decode(bytes) {
                Ok(Leaf::Manifest { manifest, .. }) if manifest == entry.manifest => {
                    proof = Some(self.prove(at as u64, None));
                }
                Ok(Leaf::Manifest { .. } | Leaf::Inputs { .. }) => {}
                // An honest shelf shows more than is asked for, never less.
                _ => leaves.push(self.prove(at as u64, Some(bytes.clone()))),
            }
        }
        let mut logged = Logged {
            certificate: self.log.certificate_pem().as_bytes().into(),
            keys: self.keys.as_bytes().into(),
            proof,
            leaves,
            live: self.live,
        };
        (self.change)(&mut logged);
        Ok(Some(logged))
    }

    fn growth(&self, _: NodeId, old: u64, new: u64) -> Result<Option<Vec<Sha256>>, ShelfError> {
        // What a log has lost it cannot show.
        let beyond = self.size.is_some_and(|size| new > size) && !self.goes_on;
        if self.mute || beyond {
            return Ok(None);
        }
        Ok(Some(merkle::consistency(&self.tree, old, new).unwrap()))
    }
}

/// The check's word, the exit code, and a reason with these words.
#[track_caller]
pub(crate) fn says(v: &FileVerdict, tier: Tier, code: Code, words: &str) {
    assert_eq!(v.checks.transparency, tier, "{:#?}", v.reasons);
    assert_eq!(v.code, code, "{:#?}", v.reasons);
    let said = v.reasons.iter().any(|r| r.text.contains(words));
    assert!(said || words.is_empty(), "{words}: {:#?}", v.reasons);
}

/// What is bad whatever the policy says.
#[track_caller]
pub(crate) fn refused(v: &FileVerdict, words: &str) {
    says(v, Tier::Contraindicated, Code::Evidence, words);
}
