//! The small deterministic part of CBOR (RFC 8949 section 4.2.1) in which sets are written, and a check of any other CBOR before somebody
//! else's decoder gets it. Not a general codec: maps, tags, floats and negative numbers are only walked over.

/// Why bytes are not the deterministic CBOR that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct CborError {
    /// Offset into the input.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const NULL: u8 = 0xf6;

/// Appends deterministic CBOR to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn uint(&mut self, n: u64) {
        self.head(UINT, n);
    }

    pub(crate) fn bytes(&mut self, b: &[u8]) {
        self.head(BYTES, b.len() as u64);
        self.0.extend_from_slice(b);
    }

    pub(crate) fn text(&mut self, t: &str) {
        self.head(TEXT, t.len() as u64);
        self.0.extend_from_slice(t.as_bytes());
    }

    pub(crate) fn array(&mut self, len: usize) {
        self.head(ARRAY, len as u64);
    }

    pub(crate) fn null(&mut self) {
        self.0.push(NULL);
    }

    fn head(&mut self, major: u8, n: u64) {
        let top = major << 5;
        // Each cast is exact in its range.
        match n {
            0..=23 => self.0.push(top | n as u8),
            24..=0xff => self.0.extend([top | 24, n as u8]),
            0x100..=0xffff => {
                self.0.push(top | 25);
                self.0.extend((n as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(top | 26);
                self.0.extend((n as u32).to_be_bytes());
            }
            _ => {
                self.0.push(top | 27);
                self.0.extend(n.to_be_bytes());
            }
        }
    }
}

/// How many bytes the shortest head for `n` takes.
pub(crate) fn head_len(n: u64) -> usize {
    let mut w = Writer::default();
    w.uint(n);
    w.0.len()
}

/// Refuses what is not one whole item with definite lengths that its input can hold, nested at most `depth` deep: decoders exist that
/// reserve what a length promises, and that nest as deep as they are told to.
pub(crate) fn well_formed(bytes: &[u8], depth: usize) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.item(depth)?;
    reader.end()
}

/// Reads deterministic CBOR from untrusted bytes; anything not in its shortest form is refused.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    /// Refuses trailing bytes.
    pub(crate) fn end(&self) -> Result<(), CborError> {
        if self.at == self.all.len() {
            Ok(())
        } else {
            Err(self.error("bytes after the end"))
        }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, CborError> {
        self.head(UINT, "expected an unsigned integer")
    }

    pub(crate) fn uint32(&mut self) -> Result<u32, CborError> {
        let at = self.at;
        u32::try_from(self.uint()?).map_err(|_| CborError {
            at,
            what: "number above 32 bits",
        })
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let len = self.head(BYTES, "expected a byte string")?;
        self.take(len)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let at = self.at;
        self.bytes()?.try_into().map_err(|_| CborError {
            at,
            what: "byte string of the wrong length",
        })
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, CborError> {
        let at = self.at;
        let len = self.head(TEXT, "expected a text string")?;
        std::str::from_utf8(self.take(len)?).map_err(|_| CborError {
            at,
            what: "text that is not UTF-8",
        })
    }

    /// The number of elements, which is never more than the bytes that are left.
    pub(crate) fn array(&mut self) -> Result<usize, CborError> {
        let len = self.head(ARRAY, "expected an array")?;
        match usize::try_from(len) {
            Ok(n) if n <= self.all.len() - self.at => Ok(n),
            _ => Err(self.error("array longer than the input")),
        }
    }

    /// Refuses an array of any other length.
    pub(crate) fn array_of(&mut self, len: usize) -> Result<(), CborError> {
        if self.array()? == len {
            Ok(())
        } else {
            Err(self.error("array of the wrong length"))
        }
    }

    /// True, and consumed, when a null is next.
    pub(crate) fn null(&mut self) -> bool {
        let is = self.all.get(self.at) == Some(&NULL);
        self.at += usize::from(is);
        is
    }

    /// True when a byte string is next; nothing is consumed.
    pub(crate) fn at_bytes(&self) -> bool {
        self.all.get(self.at).is_some_and(|b| b >> 5 == BYTES)
    }

    /// Refuses anything but these bytes.
    pub(crate) fn skip(&mut self, bytes: &[u8]) -> Result<(), CborError> {
        if self.all[self.at..].starts_with(bytes) {
            self.at += bytes.len();
            Ok(())
        } else {
            Err(self.error("not the bytes that are written here"))
        }
    }

    pub(crate) fn error(&self, what: &'static str) -> CborError {
        CborError { at: self.at, what }
    }

    /// Walks over one item of any kind.
    fn item(&mut self, depth: usize) -> Result<(), CborError> {
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(self.error("nested too deep"));
        };
        let first = *self
            .all
            .get(self.at)
            .ok_or_else(|| self.error("cut short"))?;
        match first >> 5 {
            major @ (UINT | NEGATIVE) => self.head(major, "").map(drop),
            BYTES => self.bytes().map(drop),
            TEXT => self.text().map(drop),
            ARRAY => (0..self.array()?).try_for_each(|_| self.item(deeper)),
            MAP => {
                let pairs = self.head(MAP, "")?;
                // Each key and each value is at least a byte.
                if pairs > (self.all.len() - self.at) as u64 / 2 {
                    return Err(self.error("map longer than the input"));
                }
                (0..pairs * 2).try_for_each(|_| self.item(deeper))
            }
            TAG => {
                self.head(TAG, "")?;
                self.item(deeper)
            }
            _ => {
                let width = match first & 31 {
                    0..=23 => 0,
                    24 => 1,
                    25 => 2,
                    26 => 4,
                    27 => 8,
                    _ => return Err(self.error("indefinite or reserved length")),
                };
                self.take(1 + width).map(drop)
            }
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], CborError> {
        let rest = &self.all[self.at..];
        match usize::try_from(len).ok().and_then(|n| rest.get(..n)) {
            Some(got) => {
                self.at += got.len();
                Ok(got)
            }
            None => Err(self.error("cut short")),
        }
    }

    fn head(&mut self, major: u8, what: &'static str) -> Result<u64, CborError> {
        let first = match self.all.get(self.at) {
            Some(b) if b >> 5 == major => *b,
            Some(_) => return Err(self.error(what)),
            None => return Err(self.error("cut short")),
        };
        let start = self.at;
        self.at += 1;
        let info = first & 31;
        if info < 24 {
            return Ok(u64::from(info));
        }
        if info > 27 {
            return Err(CborError {
                at: start,
                what: "indefinite or reserved length",
            });
        }
        let width = 1usize << (info - 24);
        let n = self
            .take(width as u64)?
            .iter()
            .fold(0u64, |n, b| n << 8 | u64::from(*b));
        let shortest = match width {
            1 => n >= 24,
            2 => n > 0xff,
            4 => n > 0xffff,
            _ => n > 0xffff_ffff,
        };
        if shortest {
            Ok(n)
        } else {
            Err(CborError {
                at: start,
                what: "number not in its shortest form",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_one_spelling() {
        for long in [
            &[0x18, 23][..],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
            &[0x1f],
            &[0x1c],
        ] {
            assert!(Reader::new(long).uint().is_err(), "{long:02x?}");
        }
    }

    #[test]
    fn an_array_cannot_claim_more_elements_than_there_are_bytes() {
        assert!(
            Reader::new(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
                .array()
                .is_err()
        );
    }

    /// What would make a decoder reserve twenty gigabytes, or end the stack.
    #[test]
    fn lengths_that_lie_and_nesting_without_end_are_refused() {
        let huge = [0x5b, 0, 0, 0, 5, 0, 0, 0, 0];
        let texts = [0x7b, 0, 0, 0, 5, 0, 0, 0, 0];
        let map = [0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
        for bad in [
            &huge[..],
            &texts,
            &map,
            &[0x81; 100],
            &[0xc1; 100],
            &[0x9f, 0xff],
            &[0x5f, 0xff],
            &[0xfc],
            &[0x61, 0xff],
            &[0xa1, 0x00],
            &[0x00, 0x00],
            &[],
        ] {
            assert!(well_formed(bad, 16).is_err(), "{bad:02x?}");
        }
        let mut nested = vec![0x81; 15];
        nested.push(0);
        assert_eq!(well_formed(&nested, 16), Ok(()));
        assert!(well_formed(&nested, 15).is_err());
    }

    proptest! {
        /// Whatever is let through, a decoder that takes lengths at their word reads to the end of it.
        #[test]
        fn what_is_well_formed_another_decoder_reads(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if well_formed(&bytes, 16).is_ok() {
                let mut rest = &bytes[..];
                let read: Result<ciborium::Value, _> = ciborium::de::from_reader_with_recursion_limit(&mut rest, 32);
                // It knows fewer simple values and tags than there are; what it takes, it takes whole.
                prop_assert!(read.is_err() || rest.is_empty());
            }
        }

        #[test]
        fn what_another_encoder_writes_is_well_formed(n: i64, f: f64, b: bool, t: String, keys in prop::collection::vec(".{0,4}", 0..4)) {
            let map = keys.into_iter().map(|k| (k.into(), ciborium::Value::Null)).collect();
            let value = ciborium::Value::Array(vec![n.into(), f.into(), b.into(), t.into(), ciborium::Value::Map(map)]);
            let mut bytes = Vec::new();
            ciborium::into_writer(&value, &mut bytes).unwrap();
            prop_assert_eq!(well_formed(&bytes, 4), Ok(()));
            for len in 0..bytes.len() {
                prop_assert!(well_formed(&bytes[..len], 4).is_err());
            }
        }

        #[test]
        fn what_is_written_reads_back(n: u64, b: Vec<u8>, t: String) {
            let mut w = Writer::default();
            w.array(4);
            w.uint(n);
            w.bytes(&b);
            w.text(&t);
            w.null();
            let mut r = Reader::new(&w.0);
            r.array_of(4).unwrap();
            prop_assert_eq!(r.uint().unwrap(), n);
            prop_assert_eq!(r.bytes().unwrap(), &b[..]);
            prop_assert_eq!(r.text().unwrap(), t);
            prop_assert!(r.null());
            r.end().unwrap();
        }
    }
}
