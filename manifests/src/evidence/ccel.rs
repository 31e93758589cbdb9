//! The event log of firmware and boot loader (CCEL: TCG2, crypto agile) and its replay to RTMR0 to 3. Explains what was measured, judges nothing.

use super::event::{EventDigest, Rtmr};

/// `EV_NO_ACTION`: says something, extends nothing.
const NO_ACTION: u32 = 3;
/// TPM_ALG_SHA384.
const SHA384: u16 = 0x0c;
/// Identifies the header event.
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// No log is longer, in bytes: the kernel gives what the ACPI table says, which the host wrote.
pub const MAX_CCEL: usize = 4 << 20;
/// No event has digests of more algorithms.
const MAX_DIGESTS: u32 = 16;

/// Why bytes are no such log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a CCEL event log: byte {at}: {what}")]
pub struct CcelError {
    /// Offset.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// What a log says, event by event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ccel {
    /// What RTMR0 to 3 are after it.
    pub rtmr: [Rtmr; 4],
    /// Number of events that extend something.
    pub events: usize,
}

/// Reads and replays untrusted bytes. What follows the last event must be fill: zeros or ones.
///
/// # Errors
/// The first place that is not as the TCG has it.
pub fn replay(bytes: &[u8]) -> Result<Ccel, CcelError> {
    let mut r = Cursor { all: bytes, at: 0 };
    if bytes.len() > MAX_CCEL {
        return Err(r.wrong("too long"));
    }
    let sizes = header(&mut r)?;
    let mut ccel = Ccel {
        rtmr: [Rtmr::ZERO; 4],
        events: 0,
    };
    while !r.is_fill() {
        let register = r.u32()?;
        let kind = r.u32()?;
        let count = r.u32()?;
        if count > MAX_DIGESTS {
            return Err(r.wrong("too many digests"));
        }
        let mut digest = None;
        for _ in 0..count {
            let algorithm = r.u16()?;
            let size = sizes
                .iter()
                .find(|(a, _)| *a == algorithm)
                .map(|(_, size)| *size)
                .ok_or_else(|| r.wrong("a digest of an algorithm that the header does not name"))?;
            let bytes = r.take(size)?;
            if algorithm == SHA384 {
                digest = bytes.try_into().ok().map(EventDigest);
            }
        }
        let length = r.u32()? as usize;
        r.take(length)?;
        if kind == NO_ACTION {
            continue;
        }
        // 0 is MRTD, which nothing extends at run time.
        let Some(index) = (register as usize).checked_sub(1).filter(|i| *i < 4) else {
            return Err(r.wrong("an event of a register that there is not"));
        };
        let digest = digest.ok_or_else(|| r.wrong("an event without a SHA-384 digest"))?;
        ccel.rtmr[index] = ccel.rtmr[index].extended(&digest);
        ccel.events += 1;
    }
    Ok(ccel)
}

/// The first event, in the older form: names the algorithms and the lengths of their digests.
fn header(r: &mut Cursor<'_>) -> Result<Vec<(u16, usize)>, CcelError> {
    r.u32()?;
    if r.u32()? != NO_ACTION {
        return Err(r.wrong("it does not begin with its header"));
    }
    r.take(20)?;
    let length = r.u32()? as usize;
    let mut body = Cursor {
        all: r.take(length)?,
        at: 0,
    };
    if body.take(16)? != SIGNATURE {
        return Err(r.wrong("its header is not of a crypto agile log"));
    }
    // Platform class, version, errata, size of a pointer.
    body.take(8)?;
    let count = body.u32()?;
    if count > MAX_DIGESTS {
        return Err(r.wrong("too many algorithms"));
    }
    (0..count)
        .map(|_| Ok((body.u16()?, usize::from(body.u16()?))))
        .collect()
}

struct Cursor<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn wrong(&self, what: &'static str) -> CcelError {
        CcelError { at: self.at, what }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], CcelError> {
        let taken = self.all[self.at..]
            .get(..n)
            .ok_or_else(|| self.wrong("cut short"))?;
        self.at += n;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, CcelError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, CcelError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Nothing follows, or only one byte again and again.
    fn is_fill(&self) -> bool {
        let rest = &self.all[self.at..];
        rest.iter().all(|b| *b == 0xff) || rest.iter().all(|b| *b == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(events: &[(u32, u32, [u8; 48])]) -> Vec<u8> {
        let mut spec = SIGNATURE.to_vec();
        spec.extend([0; 8]);
        spec.extend(1u32.to_le_bytes());
        spec.extend(SHA384.to_le_bytes());
        spec.extend(48u16.to_le_bytes());
        spec.push(0);
        let mut out = [1u32.to_le_bytes(), NO_ACTION.to_le_bytes()].concat();
        out.extend([0; 20]);
        out.extend((spec.len() as u32).to_le_bytes());
        out.extend(spec);
        for (register, kind, digest) in events {
            out.extend(register.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend(1u32.to_le_bytes());
            out.extend(SHA384.to_le_bytes());
            out.extend(digest);
            out.extend(3u32.to_le_bytes());
            out.extend(b"abc");
        }
        out
    }

    #[test]
    fn events_go_to_their_registers_and_fill_is_no_event() {
        let events = [
            (1, 0x8000_0001, [1; 48]),
            (3, 0x0d, [2; 48]),
            (3, NO_ACTION, [3; 48]),
        ];
        let mut bytes = log(&events);
        let read = replay(&bytes).unwrap();
        assert_eq!(read.events, 2);
        assert_eq!(
            read.rtmr,
            [
                Rtmr::ZERO.extended(&EventDigest([1; 48])),
                Rtmr::ZERO,
                Rtmr::ZERO.extended(&EventDigest([2; 48])),
                Rtmr::ZERO
            ]
        );
        bytes.extend([0xff; 100]);
        assert_eq!(replay(&bytes), Ok(read));
        bytes.push(1);
        assert!(replay(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(tail in prop::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index, at: prop::sample::Index, flip: u8) {
            let mut bytes = log(&[(2, 1, [7; 48])]);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            bytes.extend(tail);
            let _ = replay(&bytes[..cut.index(bytes.len())]);
            let _ = replay(&bytes);
        }
    }
}
