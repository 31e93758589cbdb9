//! What is looked at before it is published: the quote, and the firmware's event log. Not whether to believe either: see the `Appraiser`.

use atlas_manifests::evidence::ccel::{self, MAX_CCEL};
use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::evidence::record::MAX_QUOTE;

use super::machine::Machine;

/// What must hold of a quote before it is published, whatever made it: the host passes it on, and may have mixed up two.
///
/// # Errors
/// What does not, in words.
pub(super) fn usable<'a>(raw: &'a [u8], wanted: &[u8; 64]) -> Result<Quote<'a>, String> {
    let quote = Quote::parse(raw).map_err(|e| e.to_string())?;
    if quote.bytes.len() > MAX_QUOTE {
        return Err(format!("it is longer than {MAX_QUOTE} bytes"));
    }
    if quote.report_data() != *wanted {
        return Err("it is about other bytes than were asked for".to_owned());
    }
    quote.consistent().map_err(|e| e.to_string())?;
    Ok(quote)
}

/// The firmware's event log, if it is one that verifiers can read.
pub(super) fn firmware_log(machine: &dyn Machine) -> Option<Vec<u8>> {
    let why = match machine.ccel() {
        Ok(None) => return None,
        Ok(Some(bytes)) if bytes.len() > MAX_CCEL => format!("it is longer than {MAX_CCEL} bytes"),
        Ok(Some(bytes)) => match ccel::replay(&bytes) {
            Ok(_) => return Some(bytes),
            Err(e) => e.to_string(),
        },
        Err(e) => e.to_string(),
    };
    tracing::warn!("the firmware's event log (CCEL) is left out of the evidence: {why}");
    None
}
