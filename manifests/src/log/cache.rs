//! The few tiles and the one bundle that a reader keeps, so that a walk along the log reads each file once. Only what was checked comes in.

use std::collections::HashMap;
use std::sync::Arc;

use super::tile::{Bundle, WIDTH};
use crate::digest::Sha256;
use crate::merkle::node_hash;

/// Tiles that are kept: 16 KiB each. A proof touches at most eight.
const KEPT: usize = 32;

/// A full tile with the hashes between its own and its root.
pub(super) struct Tile(Vec<Sha256>);

impl Tile {
    /// `hashes` are 256.
    pub(super) fn of(hashes: &[Sha256]) -> Self {
        let mut nodes = Vec::with_capacity(2 * WIDTH as usize);
        nodes.extend_from_slice(hashes);
        let mut at = 0;
        while at + 1 < nodes.len() {
            let node = node_hash(&nodes[at], &nodes[at + 1]);
            nodes.push(node);
            at += 2;
        }
        Self(nodes)
    }

    pub(super) fn hashes(&self) -> &[Sha256] {
        &self.0[..(WIDTH as usize).min(self.0.len())]
    }

    /// The hash that is `level` levels of the tree above the tile's own.
    pub(super) fn node(&self, level: u32, at: usize) -> Option<Sha256> {
        let twice = 2 * WIDTH as usize;
        self.0.get(twice - (twice >> level) + at).copied()
    }

    pub(super) fn root(&self) -> Sha256 {
        self.0[self.0.len() - 1]
    }
}

#[derive(Default)]
pub(super) struct Cache {
    tiles: HashMap<(u8, u64), (u64, Arc<Tile>)>,
    bundle: Option<(u64, Arc<Bundle>)>,
    /// Counts uses: the tile whose last use is the longest ago goes first.
    clock: u64,
}

impl Cache {
    pub(super) fn tile(&mut self, level: u8, index: u64) -> Option<Arc<Tile>> {
        let (used, tile) = self.tiles.get_mut(&(level, index))?;
        self.clock += 1;
        *used = self.clock;
        Some(Arc::clone(tile))
    }

    pub(super) fn keep_tile(&mut self, level: u8, index: u64, tile: Arc<Tile>) {
        if self.tiles.len() >= KEPT {
            let oldest = self.tiles.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.tiles.remove(&key);
            }
        }
        self.clock += 1;
        self.tiles.insert((level, index), (self.clock, tile));
    }

    pub(super) fn bundle(&self, number: u64) -> Option<Arc<Bundle>> {
        let (kept, bundle) = self.bundle.as_ref()?;
        (*kept == number).then(|| Arc::clone(bundle))
    }

    pub(super) fn keep_bundle(&mut self, number: u64, bundle: Arc<Bundle>) {
        self.bundle = Some((number, bundle));
    }
}
