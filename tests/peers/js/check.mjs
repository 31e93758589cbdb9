#!/usr/bin/env node
// A second opinion on an inclusion proof: the npm package @sigstore/verify, which npm itself judges provenance with.
//
//   node check.mjs proof.json
//
// ../README.md says what is in the file. Prints one line and exits 0, or one reason on stderr and exits 1.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { crypto: sigstore } = require('@sigstore/core');
// Not among the package's exports: all that those take is a whole Sigstore bundle.
const { verifyTLogInclusion } = require(path.join(path.dirname(require.resolve('@sigstore/verify')), 'tlog'));

// What the checkpoint's lines name the key by: of C2SP signed-note for Ed25519, of Rekor for ECDSA.
function keyId(name, key) {
  const der = key.export({ format: 'der', type: 'spki' });
  if (key.asymmetricKeyType !== 'ed25519') return sigstore.digest('sha256', der);
  return sigstore.digest('sha256', Buffer.from(`${name}\n`), Buffer.of(1), der.subarray(-32));
}

function check(p) {
  const bytes = (text) => Buffer.from(text, 'base64');
  const key = sigstore.createPublicKey(p.publicKey);
  const [origin, size, root] = p.checkpoint.split('\n');
  // The package believes the checkpoint alone, and never looks at these.
  if (size !== String(p.treeSize) || root !== p.rootHash) throw new Error('treeSize and rootHash are not those of the checkpoint');
  const entry = {
    canonicalizedBody: bytes(p.entry),
    inclusionProof: {
      logIndex: String(p.index),
      treeSize: String(p.treeSize),
      rootHash: bytes(p.rootHash),
      hashes: p.hashes.map(bytes),
      checkpoint: { envelope: p.checkpoint },
    },
  };
  const leaf = sigstore.digest('sha256', Buffer.of(0), entry.canonicalizedBody);
  if (p.leafHash !== undefined && !sigstore.bufferEqual(leaf, bytes(p.leafHash))) throw new Error('leafHash is not that of the entry');
  verifyTLogInclusion(entry, [{ logID: keyId(origin, key), baseURL: origin, publicKey: key }]);
  return `ok: log ${origin} size ${size}, leaf ${p.index} included`;
}

try {
  console.log(check(JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))));
} catch (e) {
  console.error(`check.mjs: ${String(e.message).replace(/\s+/g, ' ')}`);
  process.exitCode = 1;
}
