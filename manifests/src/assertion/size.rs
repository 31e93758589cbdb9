//! How large a manifest will be, before anything is signed: so that inputs which cannot fit cost nothing. An estimate from below, never a promise.

use super::body::{EvidenceBody, OriginBody, VersionBody, WithheldBody};
use super::ingredient::{INPUT_TO, Ingredient, PARENT_OF};
use crate::statement::Statement;

/// Store, manifest, claim, signature and certificate, with everything in them that has one length.
const ENVELOPE: usize = 1040;
/// An assertion's boxes, salt and place in the claim, without its label, which stands there twice.
const AROUND: usize = 139;
/// What the SDK's names for an ingredient's title and format are shorter than C2PA's, and its number, at least.
const INGREDIENT: usize = 9;
/// The parent's hashed URI in the opened action.
const OPENED: usize = 80;

/// At most a few dozen bytes less than the manifest of this (trimmed) statement.
pub(crate) fn at_least(s: &Statement) -> usize {
    let mut sum = ENVELOPE + s.title.as_ref().map_or(0, |t| t.len() + 9);
    let mut add = |label: &str, body: usize| sum += AROUND + 2 * label.len() + body;
    add(super::ACTIONS, cbor(&super::actions(s)));
    add(super::ASSET_TYPE, cbor(&super::asset_type(s)));
    add(super::DATA_HASH, 72);
    add(super::VERSION, cbor(&VersionBody::of(s)));
    match OriginBody::of(&s.origin) {
        OriginBody::Run(run) => add(super::RUN, cbor(&run)),
        OriginBody::Registered(r) => add(super::REGISTERED, cbor(&r)),
    }
    if !s.withheld.is_empty() {
        add(super::WITHHELD, cbor(&WithheldBody::of(&s.withheld)));
    }
    if let Some(binding) = &s.evidence {
        add(super::EVIDENCE, cbor(&EvidenceBody::of(binding)));
    }
    if let Some(parent) = &s.parent {
        let body = cbor(&Ingredient::of(parent, PARENT_OF));
        add(super::INGREDIENT, INGREDIENT + OPENED + body);
    }
    for input in &s.inputs {
        let body = cbor(&Ingredient::of(input, INPUT_TO));
        add(super::INGREDIENT, INGREDIENT + body);
    }
    sum
}

fn cbor(body: &impl serde::Serialize) -> usize {
    let mut out = Vec::with_capacity(512);
    // What cannot be encoded is found when it is signed; it only makes the estimate smaller.
    match ciborium::into_writer(body, &mut out) {
        Ok(()) => out.len(),
        Err(_) => 0,
    }
}
