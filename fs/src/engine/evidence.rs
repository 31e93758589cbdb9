//! Where the engine meets the attester: what it begins with, what it is told, what it is asked. Not how evidence is made: `attest`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use atlas_manifests::authority::InstanceKey;
use atlas_manifests::bytes::{PathBytes, base64};
use atlas_manifests::digest::{Sha256, unhex};
use atlas_manifests::seal::Sealer;
use atlas_manifests::statement::Statement;
use atlas_manifests::store::Store;
use atlas_manifests::wire::Say;

use super::answers::error;
use super::scribe::Signed;
use super::{Engine, StartOptions};
use crate::attest::keeper::{Begun, Keeper};
use crate::logbook::Logbook;

/// Makes the instance's evidence where there is hardware for it; else says why not, when a person should know.
pub(super) fn begin(
    options: &StartOptions,
    key: &InstanceKey,
    store: &Arc<Store>,
    log: &Arc<Logbook>,
) -> Result<(Option<Arc<Keeper>>, Option<String>), String> {
    let config = [
        ("config", options.config.digest().hex()),
        ("io", options.io.clone()),
        ("runs", format!("{:?}", options.runs).to_lowercase()),
        ("titles-withheld", options.titles_withheld.to_string()),
        ("in-place", options.in_place.to_string()),
        ("read-only", options.read_only.to_string()),
    ];
    let begun = Keeper::begin(
        &options.evidence,
        &config,
        options.instance,
        key,
        store,
        log,
    )?;
    Ok(match begun {
        Begun::With(keeper) => (Some(keeper), None),
        Begun::Without(why) => {
            if let Some(why) = &why {
                tracing::warn!("{why}");
            }
            (None, why)
        }
    })
}

/// These are stored. What an earlier life signed is in its own event log, if it got there.
pub(super) fn sealed(engine: &Engine, stored: &[Signed]) {
    let Some(keeper) = &engine.keeper else { return };
    let ours = stored.iter().filter(|s| !s.objects.is_empty());
    let names: Vec<Sha256> = ours.map(|s| s.reference.sha256).collect();
    if !names.is_empty() {
        keeper.sealed(&names);
    }
}

/// Whether a seal is left to the next mount, because it would wait for a quote while this one ends.
pub(super) fn postponed(engine: &Engine, path: Option<&PathBytes>) -> bool {
    let wants = |k: &Arc<Keeper>| path.is_some_and(|p| k.wants_own(p));
    engine.stopping.load(Ordering::Acquire) && engine.keeper.as_ref().is_some_and(wants)
}

/// `--explicit-quotes`: a quote for this manifest alone. Without it the file is sealed all the same, and `status` says so.
pub(super) fn own_quote(
    engine: &Engine,
    sealer: &Sealer,
    statement: &mut Statement,
    path: Option<&PathBytes>,
) {
    let Some(keeper) = &engine.keeper else { return };
    if !path.is_some_and(|p| keeper.wants_own(p)) {
        return;
    }
    let claim = sealer.partial_claim(statement);
    statement.evidence = claim
        .map_err(|e| e.to_string())
        .and_then(|claim| keeper.for_manifest(claim))
        .ok();
}

impl Engine {
    pub(super) fn attest(&self, nonce: &str) -> Say {
        let Some(keeper) = &self.keeper else {
            let why = self.unattested.as_deref();
            return error(
                1,
                why.unwrap_or("this machine has no Intel TDX: there is no evidence"),
            );
        };
        let Some(nonce) = unhex(nonce) else {
            return error(2, "a nonce is 2 to 128 lowercase hex digits");
        };
        match keeper.answer(&nonce) {
            Ok(evidence) => Say::Bytes {
                b64: Some(base64(&evidence.encode())),
            },
            Err(why) => error(1, why),
        }
    }
}
