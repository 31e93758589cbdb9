//! What a file's bytes are: `dc:format` and C2PA asset types. Bytes beat names; a name only decides where bytes cannot. Not a validator.

/// What `sniff` looks at is at most so many bytes from the start.
pub const HEAD_BYTES: usize = 4096;

/// What bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetKind {
    /// `dc:format`.
    pub media_type: String,
    /// C2PA asset types (C2PA 2.2, `c2pa.asset-type.v2`), most telling first; may be empty.
    pub types: Vec<String>,
}

const MODEL: &str = "c2pa.types.model";
const PYTORCH: &str = "c2pa.types.model.pytorch";
const ONNX: &str = "c2pa.types.model.onnx";
const TENSORFLOW: &str = "c2pa.types.model.tensorflow";
const KERAS: &str = "c2pa.types.model.keras";
const TFLITE: &str = "c2pa.types.model.tflite";
const DATASET: &str = "c2pa.types.dataset";
const TF_DATASET: &str = "c2pa.types.dataset.tensorflow";
const NUMPY: &str = "c2pa.types.format.numpy";
const PICKLE: &str = "c2pa.types.format.pickle";
const PROTOBUF: &str = "c2pa.types.format.protobuf";

/// What nobody recognises.
pub const UNKNOWN: &str = "application/octet-stream";

type Known = (&'static str, &'static [&'static str]);

/// Says what a file is from its base name, its first bytes (up to `HEAD_BYTES`) and its length.
pub fn sniff(name: &[u8], head: &[u8], size: u64) -> AssetKind {
    let lower: Vec<u8> = name
        .rsplit(|b| *b == b'/')
        .next()
        .unwrap_or(name)
        .to_ascii_lowercase();
    let (media_type, types) = by_bytes(&lower, head, size)
        .or_else(|| by_name(&lower))
        .or_else(|| is_text(head).then_some(("text/plain", &[][..])))
        .unwrap_or((UNKNOWN, &[]));
    AssetKind {
        media_type: media_type.to_owned(),
        types: types.iter().map(|t| (*t).to_owned()).collect(),
    }
}

fn by_bytes(name: &[u8], head: &[u8], size: u64) -> Option<Known> {
    if is_safetensors(head, size) {
        return Some(("application/vnd.safetensors", &[MODEL]));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some(zip(name, head));
    }
    for (magic, known) in MAGIC {
        if head.starts_with(magic) {
            return Some(*known);
        }
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(("application/x-tar", &[]));
    }
    if head.get(4..8) == Some(b"TFL3") {
        return Some(("application/vnd.tflite", &[TFLITE]));
    }
    match (head.get(..4), head.get(8..12)) {
        (Some(b"RIFF"), Some(b"WEBP")) => return Some(("image/webp", &[])),
        (Some(b"RIFF"), Some(b"WAVE")) => return Some(("audio/wav", &[])),
        _ => {}
    }
    if is_pickle(head) {
        return Some(match extension(name) {
            // torch.save before 1.6 wrote bare pickles.
            b"pt" | b"pth" | b"ckpt" => ("application/vnd.pytorch", &[PYTORCH, PICKLE]),
            _ => ("application/x-pickle", &[PICKLE]),
        });
    }
    is_tfrecord(head, size).then_some(("application/x-tfrecord", &[TF_DATASET, PROTOBUF]))
}

/// Formats that begin with a constant.
const MAGIC: &[(&[u8], Known)] = &[
    (b"GGUF", ("application/vnd.gguf", &[MODEL])),
    (b"PAR1", ("application/vnd.apache.parquet", &[DATASET])),
    (
        b"ARROW1\0\0",
        ("application/vnd.apache.arrow.file", &[DATASET]),
    ),
    (b"FEA1", ("application/vnd.apache.arrow.file", &[DATASET])),
    (
        b"\xff\xff\xff\xff\x10\0\0\0",
        ("application/vnd.apache.arrow.stream", &[DATASET]),
    ),
    (b"\x93NUMPY", ("application/x-npy", &[NUMPY])),
    (b"\x89HDF\r\n\x1a\n", ("application/x-hdf5", &[])),
    (b"\x89PNG\r\n\x1a\n", ("image/png", &[])),
    (b"\xff\xd8\xff", ("image/jpeg", &[])),
    (b"GIF87a", ("image/gif", &[])),
    (b"GIF89a", ("image/gif", &[])),
    (b"II*\0", ("image/tiff", &[])),
    (b"MM\0*", ("image/tiff", &[])),
    (b"%PDF-", ("application/pdf", &[])),
    (b"\x1f\x8b\x08", ("application/gzip", &[])),
    (b"\x28\xb5\x2f\xfd", ("application/zstd", &[])),
    (b"\xfd7zXZ\0", ("application/x-xz", &[])),
    (b"BZh", ("application/x-bzip2", &[])),
    (b"SQLite format 3\0", ("application/vnd.sqlite3", &[])),
    (b"\x7fELF", ("application/x-elf", &[])),
];

fn by_name(name: &[u8]) -> Option<Known> {
    Some(match extension(name) {
        b"onnx" => ("application/vnd.onnx", &[ONNX, PROTOBUF]),
        b"pb" => ("application/x-protobuf", &[TENSORFLOW, PROTOBUF]),
        b"json" => ("application/json", &[]),
        b"jsonl" | b"ndjson" => ("application/jsonl", &[DATASET]),
        b"csv" => ("text/csv", &[DATASET]),
        b"tsv" => ("text/tab-separated-values", &[DATASET]),
        b"txt" | b"log" => ("text/plain", &[]),
        b"md" => ("text/markdown", &[]),
        b"yaml" | b"yml" => ("application/yaml", &[]),
        b"toml" => ("application/toml", &[]),
        b"xml" => ("application/xml", &[]),
        b"html" => ("text/html", &[]),
        b"py" => ("text/x-python", &[]),
        b"sh" => ("text/x-shellscript", &[]),
        _ => return None,
    })
}

fn extension(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) if dot > 0 => &name[dot + 1..],
        _ => &[],
    }
}

/// Eight bytes of header length, then a JSON object that fits into the file.
fn is_safetensors(head: &[u8], size: u64) -> bool {
    // The reference reader's own limit on the header.
    const MAX_HEADER: u64 = 100_000_000;
    let Some((length, json)) = head.split_first_chunk::<8>() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    (2..=MAX_HEADER).contains(&length)
        && length.checked_add(8).is_some_and(|end| end <= size)
        && json.starts_with(b"{")
        && json[1..]
            .iter()
            .find(|b| !b.is_ascii_whitespace())
            .is_some_and(|b| matches!(b, b'"' | b'}'))
}

/// A ZIP is told by the name of its first member.
fn zip(name: &[u8], head: &[u8]) -> Known {
    let member = head
        .get(26..28)
        .and_then(|b| head.get(30..30 + usize::from(u16::from_le_bytes([b[0], b[1]]))))
        .unwrap_or_default();
    let ends = |tail: &[u8]| member.ends_with(tail);
    if ends(b"/data.pkl")
        || ends(b"/constants.pkl")
        || ends(b"/.format_version")
        || ends(b"/version")
    {
        ("application/vnd.pytorch", &[PYTORCH, PICKLE])
    } else if ends(b".npy") {
        ("application/x-npz", &[NUMPY])
    } else if extension(name) == b"keras" {
        ("application/vnd.keras", &[KERAS])
    } else {
        ("application/zip", &[])
    }
}

/// Protocol 2 to 5, and for 4 and 5 the frame that always follows.
fn is_pickle(head: &[u8]) -> bool {
    match head {
        [0x80, 2 | 3, op, ..] => matches!(
            op,
            b']' | b'}'
                | b'('
                | b'c'
                | b'X'
                | b'K'
                | b'J'
                | b'M'
                | b'G'
                | b')'
                | 0x8a
                | b'N'
                | b'U'
                | b'C'
        ),
        [0x80, 4 | 5, 0x95, ..] => true,
        _ => false,
    }
}

/// Length, the length's masked CRC-32C, data: the checksum makes a false positive a matter of 1 in 2^32.
fn is_tfrecord(head: &[u8], size: u64) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else {
        return false;
    };
    let Some((crc, _)) = rest.split_first_chunk::<4>() else {
        return false;
    };
    let fits = u64::from_le_bytes(*length)
        .checked_add(16)
        .is_some_and(|end| end <= size);
    let c = crc32c(length);
    let masked = c.rotate_right(15).wrapping_add(0xa282_ead8);
    fits && masked == u32::from_le_bytes(*crc)
}

/// CRC-32C (Castagnoli), bit by bit: it sees eight bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| {
            c >> 1 ^ (0x82f6_3b78 & (c & 1).wrapping_neg())
        })
    })
}

/// UTF-8 without control characters but the usual; a character cut by the end of `head` is forgiven.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => {
            std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty()
        && !valid
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn media(name: &str, head: &[u8]) -> String {
        sniff(name.as_bytes(), head, head.len() as u64).media_type
    }

    fn safetensors() -> Vec<u8> {
        let json = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        [&(json.len() as u64).to_le_bytes()[..], json, &[0; 4]].concat()
    }

    /// The local header of a ZIP's first member.
    fn zip_of(member: &str) -> Vec<u8> {
        let mut z = b"PK\x03\x04".to_vec();
        z.extend([0; 22]);
        z.extend((member.len() as u16).to_le_bytes());
        z.extend([0; 2]);
        z.extend(member.as_bytes());
        z
    }

    #[test]
    fn formats_are_known_by_their_bytes_whatever_their_name() {
        let tar = [&[0u8; 257][..], b"ustar\x0000"].concat();
        for (head, want) in [
            (&safetensors()[..], "application/vnd.safetensors"),
            (b"GGUF\x03\0\0\0", "application/vnd.gguf"),
            (&zip_of("archive/data.pkl"), "application/vnd.pytorch"),
            (&zip_of("model/version"), "application/vnd.pytorch"),
            (&zip_of("arr_0.npy"), "application/x-npz"),
            (&zip_of("readme"), "application/zip"),
            (b"PAR1\x15\x04", "application/vnd.apache.parquet"),
            (b"ARROW1\0\0\xff", "application/vnd.apache.arrow.file"),
            (b"\x93NUMPY\x01\0", "application/x-npy"),
            (b"\x80\x04\x95\x10\0", "application/x-pickle"),
            (b"\x80\x02}q\0", "application/x-pickle"),
            (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
            (&tar, "application/x-tar"),
            (b"\x1f\x8b\x08\0", "application/gzip"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"RIFF\x10\0\0\0WEBP", "image/webp"),
        ] {
            assert_eq!(media("liar.csv", head), want);
        }
    }

    #[test]
    fn names_decide_only_where_bytes_cannot() {
        assert_eq!(media("m.onnx", b"\x08\x08\x12\x07"), "application/vnd.onnx");
        assert_eq!(media("d.JSONL", b"{}\n"), "application/jsonl");
        assert_eq!(media("dir/d.csv", b"a,b\n"), "text/csv");
        assert_eq!(media("README", b"hello\n"), "text/plain");
        assert_eq!(media("noise", b"\x00\x01\x02"), UNKNOWN);
        assert_eq!(media(".csv", b"\x00"), UNKNOWN);
        assert_eq!(media("", b""), UNKNOWN);
    }

    #[test]
    fn a_checkpoint_of_pytorch_says_so_in_c2pa_terms() {
        let kind = sniff(b"ckpt", &zip_of("ckpt/data.pkl"), 100);
        assert_eq!(kind.types, [PYTORCH, PICKLE]);
        let old = sniff(b"old.pt", b"\x80\x02\x8a\nl\xfc", 100);
        assert_eq!(old.types, [PYTORCH, PICKLE]);
    }

    /// The length and checksum that TensorFlow writes before a record of 24 bytes.
    #[test]
    fn a_tfrecord_is_known_by_the_checksum_of_its_length() {
        let length = 24u64.to_le_bytes();
        let masked = crc32c(&length)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8)
            .to_le_bytes();
        let mut record = [&length[..], &masked, &[7; 28]].concat();
        assert_eq!(media("data", &record), "application/x-tfrecord");
        record[9] ^= 1;
        assert_ne!(media("data", &record), "application/x-tfrecord");
        // RFC 3720 B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_header_longer_than_the_file_is_no_safetensors() {
        assert_ne!(
            sniff(b"x", &safetensors(), 20).media_type,
            "application/vnd.safetensors"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_and_no_name_panic(name: Vec<u8>, head: Vec<u8>, size: u64) {
            let kind = sniff(&name, &head, size);
            prop_assert!(kind.media_type.contains('/'));
        }
    }
}
