"""Makes a small log, and sees that each peer believes it, and none believes it with one byte changed.

A peer that takes anything would make every test that asks it worthless. Needs ATLAS_TEST_TLOGCHECK, ATLAS_TEST_NODE_CHECK and
ATLAS_TEST_PY_CHECK as scripts/test sets them; one that is not set is left out. Run by scripts/setup with the Python of target/peers/venv.
"""

import base64
import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIZE, OLD, INDEX = 600, 300, 515
LOG, WITNESS = "peers.test/log", "peers.test/witness"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def split(n: int) -> int:
    """The largest power of two below n."""
    return 1 << ((n - 1).bit_length() - 1)


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node(root(leaves[:k]), root(leaves[k:]))


def proof(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*proof(leaves[:k], index), root(leaves[k:])]
    return [*proof(leaves[k:], index - k), root(leaves[:k])]


class Key:
    """A key of a signed note: of the log (type 1) or of a witness (type 4)."""

    def __init__(self, name: str, kind: int) -> None:
        self.name, self.kind = name, kind
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public = bytes([kind]) + self.key.public_key().public_bytes_raw()
        self.id = hashlib.sha256(f"{name}\n".encode() + self.public).digest()[:4]
        self.vkey = f"{name}+{self.id.hex()}+{b64(self.public)}"

    def line(self, text: str, when: int = 1_700_000_000) -> str:
        if self.kind == 4:
            sig = when.to_bytes(8, "big") + self.key.sign(f"cosignature/v1\ntime {when}\n{text}".encode())
        else:
            sig = self.key.sign(text.encode())
        return f"\N{EM DASH} {self.name} {b64(self.id + sig)}\n"


def checkpoint(log: Key, leaves: list[bytes], *witnesses: Key) -> str:
    text = f"{log.name}\n{len(leaves)}\n{b64(root(leaves))}\n"
    return text + "\n" + "".join(key.line(text) for key in (log, *witnesses))


def write(at: Path, entries: list[bytes], signed: str) -> None:
    """A log's directory, in the layout of C2SP tlog-tiles."""
    rows = [[leaf(e) for e in entries]]
    while len(rows[-1]) >= 256:
        rows.append([root(rows[-1][i : i + 256]) for i in range(0, len(rows[-1]) // 256 * 256, 256)])
    tiles = {f"tile/{level}": [row[i : i + 256] for i in range(0, len(row), 256)] for level, row in enumerate(rows)}
    tiles["tile/entries"] = [[len(e).to_bytes(2, "big") + e for e in entries[i : i + 256]] for i in range(0, len(entries), 256)]
    for name, files in tiles.items():
        for n, parts in enumerate(files):
            file = at / name / (f"{n:03}" if len(parts) == 256 else f"{n:03}.p/{len(parts)}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"".join(parts))
    (at / "checkpoint").write_text(signed)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def flipped(text: str, at: int = 0) -> str:
    data = bytearray(base64.b64decode(text))
    data[at] ^= 1
    return b64(bytes(data))


wrong = tried = 0


def expect(good: bool, what: str, *command: object) -> None:
    global wrong, tried
    tried += 1
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    # A reason is one line; a peer that fell over, or is not there, judged nothing.
    reason = ran.stderr.strip()
    if (ran.returncode == 0) != good or (not good and (ran.returncode != 1 or len(reason.splitlines()) != 1)):
        wrong += 1
        print(f"FAILED {what}: exit code {ran.returncode}, expected {'0' if good else '1 and one line'}: {ran.stdout}{reason}")


def directories(tmp: Path, check: str) -> None:
    log, witness, stranger = Key(LOG, 1), Key(WITNESS, 4), Key("peers.test/stranger", 4)
    entries = [b"entry %d" % i for i in range(SIZE)]
    leaves = [leaf(e) for e in entries]
    old = tmp / "old"
    old.write_text(checkpoint(log, leaves[:OLD]))

    def fresh() -> Path:
        at = Path(tempfile.mkdtemp(dir=tmp))
        write(at, entries, checkpoint(log, leaves, witness))
        return at

    good = fresh()
    expect(True, "tlogcheck: the log", check, good, log.vkey)
    expect(True, "tlogcheck: the log and its past", check, good, log.vkey, old)
    expect(True, "tlogcheck: cosigned", check, "cosig", good / "checkpoint", log.vkey, witness.vkey)
    expect(False, "tlogcheck: cosigned by another", check, "cosig", good / "checkpoint", log.vkey, stranger.vkey)
    expect(False, "tlogcheck: of another key", check, good, Key("peers.test/other", 1).vkey)
    for name, at in (("0/000", 0), ("0/002.p/88", -1), ("1/000.p/2", 40), ("entries/000", 2), ("entries/002.p/88", -1), ("entries/001", 1)):
        bad = fresh()
        flip(bad / "tile" / name, at)
        expect(False, f"tlogcheck: a bit of tile/{name}", check, bad, log.vkey)
    bad = fresh()
    (bad / "tile/0/001").unlink()
    expect(False, "tlogcheck: a missing tile", check, bad, log.vkey)
    for name, other in (("shrank", [*leaves, leaf(b"more")]), ("was rewritten", [leaf(b"else"), *leaves[1:OLD]]), ("split", [*leaves[1:], leaves[0]])):
        old.write_text(checkpoint(log, other))
        expect(False, f"tlogcheck: a log that {name}", check, good, log.vkey, old)
    signed = (good / "checkpoint").read_text()
    text, lines = signed.split("\n\n")
    for n, whose in enumerate(("log", "witness")):
        words = lines.splitlines()[n].split(" ")
        spoiled = signed.replace(words[2], flipped(words[2], -1))
        (good / "checkpoint").write_text(spoiled)
        expect(False, f"tlogcheck: a bit of the signature of the {whose}", check, "cosig", good / "checkpoint", log.vkey, witness.vkey)
    later = witness.line(text + "\n", 1_800_000_000).split(" ")[2]
    words = lines.splitlines()[1].split(" ")
    spoiled = signed.replace(words[2], b64(base64.b64decode(later)[:12] + base64.b64decode(words[2])[12:]))
    (good / "checkpoint").write_text(spoiled)
    expect(False, "tlogcheck: another time of the witness", check, "cosig", good / "checkpoint", log.vkey, witness.vkey)


def proofs(tmp: Path, *check: str) -> None:
    log, witness = Key(LOG, 1), Key(WITNESS, 4)
    entries = [b"entry %d" % i for i in range(SIZE)]
    leaves = [leaf(e) for e in entries]
    good = {
        "entry": b64(entries[INDEX]),
        "leafHash": b64(leaves[INDEX]),
        "index": INDEX,
        "treeSize": SIZE,
        "rootHash": b64(root(leaves)),
        "hashes": [b64(h) for h in proof(leaves, INDEX)],
        "checkpoint": checkpoint(log, leaves, witness),
        "publicKey": b64(log.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    }
    file = tmp / "proof.json"

    def judge(what: str, good: bool, document: dict) -> None:
        file.write_text(json.dumps(document))
        expect(good, f"{Path(check[-1]).name}: {what}", *check, file)

    judge("the proof", True, good)
    judge("with a key in PEM", True, good | {"publicKey": log.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()})
    judge("without leafHash", True, {k: v for k, v in good.items() if k != "leafHash"})
    judge("the entry, flipped", False, good | {"entry": flipped(good["entry"])})
    judge("the entry and its hash, flipped", False, good | {"entry": b64(b"other"), "leafHash": b64(leaf(b"other"))})
    for field in ("leafHash", "rootHash"):
        judge(f"{field}, flipped", False, good | {field: flipped(good[field])})
    for n in (0, -1):
        bad = copy.deepcopy(good)
        bad["hashes"][n] = flipped(bad["hashes"][n], -1)
        judge(f"hash {n}, flipped", False, bad)
    judge("a hash too few", False, good | {"hashes": good["hashes"][:-1]})
    judge("a hash too many", False, good | {"hashes": [*good["hashes"], good["hashes"][0]]})
    judge("another index", False, good | {"index": INDEX - 1})
    judge("another size", False, good | {"treeSize": SIZE - 1})
    signature = good["checkpoint"].splitlines()[4].split(" ")[2]
    judge("the signature, flipped", False, good | {"checkpoint": good["checkpoint"].replace(signature, flipped(signature, -1))})
    bad = checkpoint(log, leaves).replace(b64(root(leaves)), flipped(b64(root(leaves))))
    judge("another root under the signature", False, good | {"checkpoint": bad, "rootHash": flipped(good["rootHash"])})
    other = Key("peers.test/other", 1).key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    judge("another key", False, good | {"publicKey": b64(other)})


with tempfile.TemporaryDirectory(prefix="atlas-peers-") as made:
    if tool := os.environ.get("ATLAS_TEST_TLOGCHECK"):
        directories(Path(made), tool)
    if tool := os.environ.get("ATLAS_TEST_NODE_CHECK"):
        proofs(Path(made), "node", tool)
    if tool := os.environ.get("ATLAS_TEST_PY_CHECK"):
        proofs(Path(made), tool)
if not tried:
    sys.exit("selfcheck.py: no peer is named")
print(f"{tried} verdicts, {wrong} wrong")
sys.exit(1 if wrong else 0)
