//! What is sent to a public log, and the entry that it makes of it: a `hashedrekord` of version 0.0.2. Not where it is sent.

use std::io;

use super::key::{AnchorKey, AnchorPublic, MAX_SIGNATURE};
use crate::bytes::base64;
use crate::digest::Sha256;
use crate::log::checkpoint::Checkpoint;
use crate::merkle::leaf_hash;

/// One submission. What is signed is the text of our checkpoint, without its signatures: a witness that cosigns it later changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorRequest {
    /// SHA-256 of the text.
    pub digest: Sha256,
    /// ECDSA in DER, over that digest.
    pub signature: Vec<u8>,
    /// Whose signature.
    pub key: AnchorPublic,
}

impl AnchorRequest {
    /// Signs a checkpoint's text. Each time it is another request, and another entry.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn sign(checkpoint: &Checkpoint, key: &AnchorKey) -> io::Result<Self> {
        let text = checkpoint.note.text.as_bytes();
        Ok(Self {
            digest: Sha256::of(text),
            signature: key.sign(text)?,
            key: key.public(),
        })
    }

    /// Whether it is about this checkpoint, and the signature its key's.
    pub fn signs(&self, checkpoint: &Checkpoint) -> bool {
        let text = checkpoint.note.text.as_bytes();
        self.digest == Sha256::of(text)
            && self.signature.len() <= MAX_SIGNATURE
            && self.key.verify(text, &self.signature)
    }

    /// What is posted.
    pub fn json(&self) -> String {
        format!(
            r#"{{"hashedRekordRequestV002":{{"digest":"{}","signature":{{"content":"{}","verifier":{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{{"rawBytes":"{}"}}}}}}}}}}"#,
            base64(&self.digest.0),
            base64(&self.signature),
            base64(&self.key.spki()),
        )
    }

    /// The bytes that the public log hashes, as RFC 8785 writes them: keys sorted, no spaces, and base64 needs no escapes.
    pub fn body(&self) -> String {
        format!(
            r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":{{"algorithm":"SHA2_256","digest":"{}"}},"signature":{{"content":"{}","verifier":{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{{"rawBytes":"{}"}}}}}}}}}}}}"#,
            base64(&self.digest.0),
            base64(&self.signature),
            base64(&self.key.spki()),
        )
    }

    /// The public log's leaf.
    pub fn leaf(&self) -> Sha256 {
        leaf_hash(self.body().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::anchor::testing::{recorded, recorded_request};

    #[test]
    fn the_entry_is_the_one_that_a_real_server_made_of_the_same_request() {
        let (request, answer) = (recorded_request(), recorded());
        let sent: serde_json::Value = serde_json::from_str(&request.json()).unwrap();
        assert_eq!(
            sent["hashedRekordRequestV002"]["digest"],
            base64(&request.digest.0)
        );
        assert_eq!(request.body().into_bytes(), answer.body);
        // A tree of one leaf.
        assert_eq!(request.leaf(), answer.root);
    }

    #[test]
    fn a_request_is_about_one_checkpoint_and_signed_by_its_key() {
        let (ours, _) = crate::log::anchor::testing::ours(5);
        let key = AnchorKey::generate().unwrap();
        let mut request = AnchorRequest::sign(&ours, &key).unwrap();
        assert!(request.signs(&ours));
        let mut cosigned = ours.clone();
        let other = crate::log::testing::TestKey::log("other.example", 3);
        cosigned.note.add(other.key.line(vec![0; 64]));
        assert!(request.signs(&cosigned));
        let (next, _) = crate::log::anchor::testing::ours(6);
        assert!(!request.signs(&next));
        request.key = AnchorKey::generate().unwrap().public();
        assert!(!request.signs(&ours));
    }
}
