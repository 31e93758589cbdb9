//! Reference values, signed and not, and the keys of those who sign them.
#![no_main]

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::LazyLock;

use atlas_fuzz::seeds;
use atlas_manifests::evidence::reference::{Document, ReferenceSigner, read};
use libfuzzer_sys::fuzz_target;

// Signed documents are read from files only.
static FILE: LazyLock<File> = LazyLock::new(|| tempfile::tempfile().expect("a temporary file"));
static SIGNER: LazyLock<ReferenceSigner> = LazyLock::new(seeds::signer);

fuzz_target!(|bytes: &[u8]| {
    let plain = Document::parse(bytes);
    if let Ok(document) = &plain {
        let written = serde_json::to_vec(document).expect("it was parsed");
        assert_eq!(Document::parse(&written).as_ref(), Ok(document));
    }
    let mut file = &*FILE;
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(bytes))
        .expect("a temporary file");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = Path::new(&path);
    let known = std::slice::from_ref(&*SIGNER);
    if let Ok(vouched) = read(path, known, false) {
        assert_eq!(vouched.signer, Some(SIGNER.id()), "nobody signed it");
        // The one document that was ever signed by that key.
        assert_eq!(vouched.document.name, "image 1");
        assert_eq!(vouched.document.measurements.len(), 1);
    }
    let unsigned = read(path, known, true);
    if let Ok(document) = plain {
        assert_eq!(unsigned.map(|v| v.document).ok(), Some(document));
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = ReferenceSigner::from_pem(text);
    }
});
