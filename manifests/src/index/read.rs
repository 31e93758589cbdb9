//! What the index answers. Not how it got to know: see `write`.

use std::path::Path;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError};
use serde::de::DeserializeOwned;

use super::{
    BLAKE3, IDENTITIES, Index, IndexError, PATHS, PROCESSES, RUNS, SHA256, USERS, USES, VERSIONS,
    WRITTEN, key,
};
use crate::bytes::PathBytes;
use crate::digest::DigestPrefix;
use crate::history::{current, first_started_first, oldest_first};
use crate::id::{NodeRef, RunId};
use crate::rows::{FileIdentity, RunRow, UseRow, VersionRow};
use crate::shelf::{Catalogue, ShelfError};

impl Index {
    /// The version whose bytes these are, as long as nobody wrote them since. Only the last one that had this identity.
    pub fn known(&self, identity: &FileIdentity) -> Result<Option<VersionRow>, IndexError> {
        self.read(|txn| {
            let Some(node) = txn.open_table(IDENTITIES)?.get(&*key::identity(identity))? else {
                return Ok(None);
            };
            let row: Option<VersionRow> = get(&txn.open_table(VERSIONS)?, node.value())?;
            Ok(row.filter(|r| r.identity.as_ref() == Some(identity)))
        })
    }

    /// How many versions, uses and runs there are.
    pub fn counts(&self) -> Result<(u64, u64, u64), IndexError> {
        use redb::ReadableTableMetadata as _;
        self.read(|txn| {
            Ok((
                txn.open_table(VERSIONS)?.len()?,
                txn.open_table(USES)?.len()?,
                txn.open_table(RUNS)?.len()?,
            ))
        })
    }

    /// Rows of the nodes that end the keys with this prefix; `head` is how long the part before the node is.
    fn select(
        &self,
        table: TableDefinition<'static, &'static [u8], ()>,
        prefix: &[u8],
        head: usize,
    ) -> Result<Vec<VersionRow>, IndexError> {
        self.read(|txn| {
            let nodes = keys(&txn.open_table(table)?, prefix, |k| {
                key::parse_node(k.get(head..)?)
            })?;
            rows(txn, &nodes)
        })
        .map(oldest_first)
    }
}

impl Catalogue for Index {
    fn by_path(&self, path: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        let mut prefix = PathBytes::from(path).0;
        prefix.push(0);
        Ok(self.select(PATHS, &prefix, prefix.len())?)
    }

    fn by_digest(&self, digest: &DigestPrefix) -> Result<Vec<VersionRow>, ShelfError> {
        // Whole bytes narrow the range, and an odd last digit is left to `matches`.
        let prefix = crate::digest::unhex(&digest.hex[..digest.hex.len() & !1]).unwrap_or_default();
        let mut found = Vec::new();
        for (alg, table) in [("blake3", BLAKE3), ("sha256", SHA256)] {
            if digest.alg.is_none_or(|a| a == alg) {
                found.extend(self.select(table, &prefix, 32)?);
            }
        }
        found.retain(|row| row.digests.is_some_and(|d| digest.matches(&d)));
        found.sort_by_key(|row| row.node);
        found.dedup_by_key(|row| row.node);
        Ok(oldest_first(found))
    }

    fn versions(&self, nodes: &[NodeRef]) -> Result<Vec<Option<VersionRow>>, ShelfError> {
        Ok(self.read(|txn| {
            let table = txn.open_table(VERSIONS)?;
            nodes.iter().map(|n| get(&table, &key::node(*n))).collect()
        })?)
    }

    fn written_by(&self, run: RunId) -> Result<Vec<VersionRow>, ShelfError> {
        Ok(self.select(WRITTEN, &key::run(run), 24)?)
    }

    fn run(&self, id: RunId) -> Result<Option<RunRow>, ShelfError> {
        Ok(self.read(|txn| {
            let head: Option<RunRow> = get(&txn.open_table(RUNS)?, &key::run(id))?;
            head.map(|head| with_processes(txn, head)).transpose()
        })?)
    }

    fn runs(&self) -> Result<Vec<RunRow>, ShelfError> {
        let all = self.read(|txn| {
            let table = txn.open_table(RUNS)?;
            let heads = table.iter()?.map(|entry| parse(entry?.1.value()));
            heads.map(|head| with_processes(txn, head?)).collect()
        })?;
        Ok(first_started_first(all))
    }

    fn uses(&self, run: RunId, below: u64) -> Result<Vec<UseRow>, ShelfError> {
        Ok(self.read(|txn| {
            let table = txn.open_table(USES)?;
            let (from, to) = (key::of_use(run, 0), key::of_use(run, below));
            table
                .range(&from[..]..&to[..])?
                .map(|entry| parse(entry?.1.value()))
                .collect()
        })?)
    }

    fn users(&self, node: NodeRef) -> Result<Vec<UseRow>, ShelfError> {
        Ok(self.read(|txn| {
            let found = keys(&txn.open_table(USERS)?, &key::node(node), key::parse_use)?;
            let uses = txn.open_table(USES)?;
            found
                .into_iter()
                .filter_map(|(run, order)| get(&uses, &key::of_use(run, order)).transpose())
                .collect()
        })?)
    }

    fn under(&self, dir: &Path) -> Result<Vec<VersionRow>, ShelfError> {
        let dir = PathBytes::from(dir).0;
        let found = self.read(|txn| {
            let paths = txn.open_table(PATHS)?;
            let mut nodes = Vec::new();
            if dir.is_empty() {
                nodes = keys(&paths, &[], node_of_path)?;
            } else {
                for end in [0, b'/'] {
                    nodes.extend(keys(&paths, &[&dir[..], &[end]].concat(), node_of_path)?);
                }
            }
            rows(txn, &nodes)
        })?;
        Ok(current(oldest_first(
            found.into_iter().filter(|r| !r.gone).collect(),
        )))
    }
}

fn node_of_path(k: &[u8]) -> Option<NodeRef> {
    key::parse_path(k).map(|(_, node)| node)
}

fn with_processes(txn: &ReadTransaction, mut head: RunRow) -> Result<RunRow, redb::Error> {
    let table = match txn.open_table(PROCESSES) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(head),
        table => table?,
    };
    let (from, to) = (key::process(head.id, 0), key::process(head.id, u32::MAX));
    for entry in table.range(&from[..]..=&to[..])? {
        head.processes.push(parse(entry?.1.value())?);
    }
    Ok(head)
}

/// What `parse` finds in every key with this prefix.
pub(super) fn keys<T>(
    table: &impl ReadableTable<&'static [u8], ()>,
    prefix: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, redb::Error> {
    let mut found = Vec::new();
    let mut push = |k: &[u8]| match parse(k) {
        Some(item) => {
            found.push(item);
            Ok(())
        }
        None => Err(redb::Error::Corrupted("a key cannot be parsed".to_owned())),
    };
    match key::after(prefix) {
        Some(end) => {
            for entry in table.range(prefix..&end[..])? {
                push(entry?.0.value())?;
            }
        }
        None => {
            for entry in table.range(prefix..)? {
                push(entry?.0.value())?;
            }
        }
    }
    Ok(found)
}

pub(super) fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    k: &[u8],
) -> Result<Option<T>, redb::Error> {
    table.get(k)?.map(|v| parse(v.value())).transpose()
}

/// What a row begins with: a bit that a disk has changed is not believed.
pub(super) fn check(json: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&blake3::hash(json).as_bytes()[..8]);
    out
}

pub(super) fn parse<T: DeserializeOwned>(row: &[u8]) -> Result<T, redb::Error> {
    let json = row
        .split_at_checked(8)
        .filter(|(said, json)| *said == check(json))
        .ok_or_else(|| redb::Error::Corrupted("a row is not what was written".to_owned()))?
        .1;
    serde_json::from_slice(json)
        .map_err(|e| redb::Error::Corrupted(format!("a row cannot be parsed: {e}")))
}

fn rows(txn: &ReadTransaction, nodes: &[NodeRef]) -> Result<Vec<VersionRow>, redb::Error> {
    let table = txn.open_table(VERSIONS)?;
    nodes
        .iter()
        .filter_map(|n| get(&table, &key::node(*n)).transpose())
        .collect()
}
