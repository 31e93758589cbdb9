//! The head of a transparency log, as bindings and events have it. Not the log.

use super::binding::text;
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::Sha256;
use crate::statement::SetHead;

/// The head of a transparency log. There is none before the log exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The log's origin line (C2SP tlog-checkpoint).
    pub origin: String,
    /// Its size and root.
    pub head: SetHead,
}

impl LogHead {
    /// As bindings and events have it: null where there is none.
    pub(super) fn write(log: Option<&Self>, w: &mut Writer) {
        match log {
            Some(log) => {
                w.array(3);
                w.text(&log.origin);
                w.uint(log.head.size);
                w.bytes(&log.head.root.0);
            }
            None => w.null(),
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Option<Self>, CborError> {
        if r.null() {
            return Ok(None);
        }
        r.array_of(3)?;
        Ok(Some(Self {
            origin: text(r)?,
            head: SetHead {
                size: r.uint()?,
                root: Sha256(r.fixed()?),
            },
        }))
    }
}
