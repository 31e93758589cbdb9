"""A second opinion on an inclusion proof: PyPI's sigstore, with which Python releases are judged.

usage: check.py proof.json

../README.md says what is in the file. Prints one line and exits 0, or one reason on stderr and exits 1.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key
from sigstore._internal.trust import Keyring
from sigstore.models import TransparencyLogEntry
from sigstore_models.common import v1 as common_v1
from sigstore_models.rekor import v1 as rekor_v1


def check(path: str) -> str:
    with open(path) as file:
        p = json.load(file)
    given = p["publicKey"]
    key = load_pem_public_key(given.encode()) if given.startswith("-----") else load_der_public_key(base64.b64decode(given))
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    origin, size, root = p["checkpoint"].split("\n")[:3]
    # What the checkpoint's lines name the key by: of C2SP signed-note for Ed25519, of Rekor for ECDSA.
    if isinstance(key, Ed25519PublicKey):
        details = "PKIX_ED25519"
        key_id = hashlib.sha256(f"{origin}\n\x01".encode() + key.public_bytes_raw()).digest()
    else:
        details = "PKIX_ECDSA_P256_SHA_256"
        key_id = hashlib.sha256(der).digest()
    # The package compares the root itself, and never the size.
    if (size, root) != (str(p["treeSize"]), p["rootHash"]):
        raise ValueError("treeSize and rootHash are not those of the checkpoint")
    leaf = hashlib.sha256(b"\0" + base64.b64decode(p["entry"], validate=True)).digest()
    if p.get("leafHash", base64.b64encode(leaf).decode()) != base64.b64encode(leaf).decode():
        raise ValueError("leafHash is not that of the entry")
    entry = {
        "logIndex": str(p["index"]),
        "logId": {"keyId": base64.b64encode(key_id).decode()},
        "kindVersion": {"kind": "none", "version": "0"},
        "inclusionProof": {
            "logIndex": str(p["index"]),
            "treeSize": str(p["treeSize"]),
            "rootHash": p["rootHash"],
            "hashes": p["hashes"],
            "checkpoint": {"envelope": p["checkpoint"]},
        },
        "canonicalizedBody": p["entry"],
    }
    trusted = {"rawBytes": base64.b64encode(der).decode(), "keyDetails": details}
    keyring = Keyring([common_v1.PublicKey.from_json(json.dumps(trusted))])
    # Its own word for a verdict on a whole entry; what is public takes a whole Sigstore bundle.
    TransparencyLogEntry(rekor_v1.TransparencyLogEntry.from_json(json.dumps(entry)))._verify(keyring)
    return f"ok: log {origin} size {size}, leaf {p['index']} included"


try:
    print(check(sys.argv[1]))
except Exception as e:
    print("check.py:", " ".join(f"{type(e).__name__}: {e}".split()), file=sys.stderr)
    sys.exit(1)
