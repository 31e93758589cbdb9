// Command tlogcheck is a second opinion on a transparency log of ours, by code that is none of ours: golang.org/x/mod/sumdb/{tlog,note},
// which Go's own checksum database rests on, and github.com/transparency-dev/formats for checkpoints and cosignatures.
//
//	tlogcheck <log dir> <vkey> [<old checkpoint file>]
//	tlogcheck cosig <checkpoint file> <log vkey> <witness vkey>...
//
// The first judges a directory in the layout of C2SP tlog-tiles: the checkpoint's signature, inclusion proofs of the first, the last and
// some 50 leaves between, entry bundles against the leaves of the tree, and that the log grew from the old checkpoint. The second judges
// the log's signature and the cosignature/v1 of each of the witnesses. Prints one line and exits 0, or one reason on stderr and exits 1.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/formats/log"
	cosig "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
	// How many leaves are spread over the log, beside the first and the last.
	spread = 50
	// Up to so many leaves, every bundle is checked.
	all = 65536
)

func main() {
	said, err := run(os.Args[1:])
	if err != nil {
		// One line, whatever an error's text holds.
		fmt.Fprintln(os.Stderr, "tlogcheck:", strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
	fmt.Println(said)
}

func run(args []string) (string, error) {
	switch {
	case len(args) >= 4 && args[0] == "cosig":
		return cosigned(args[1], args[2], args[3:])
	case len(args) == 2 && args[0] != "cosig":
		return tree(args[0], args[1], "")
	case len(args) == 3 && args[0] != "cosig":
		return tree(args[0], args[1], args[2])
	}
	return "", errors.New("usage: tlogcheck <log dir> <vkey> [<old checkpoint>] | tlogcheck cosig <checkpoint> <log vkey> <witness vkey>...")
}

// checkpoint opens a checkpoint file. The key's name must be the origin's.
func checkpoint(file, vkey string, witnesses ...note.Verifier) (tree tlog.Tree, origin string, sigs []note.Signature, err error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return tree, "", nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, "", nil, fmt.Errorf("the log's vkey: %w", err)
	}
	cp, _, n, err := log.ParseCheckpoint(signed, v.Name(), v, witnesses...)
	if err != nil {
		return tree, "", nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(cp.Hash) != tlog.HashSize {
		return tree, "", nil, fmt.Errorf("%s: a root of %d bytes", file, len(cp.Hash))
	}
	// The parser above takes numbers that C2SP tlog-checkpoint forbids.
	if line := strings.Split(n.Text, "\n")[1]; line != fmt.Sprint(cp.Size) {
		return tree, "", nil, fmt.Errorf("%s: the size is written %q", file, line)
	}
	tree.N = int64(cp.Size)
	copy(tree.Hash[:], cp.Hash)
	if tree.N < 0 {
		return tree, "", nil, fmt.Errorf("%s: size %d", file, cp.Size)
	}
	if tree.N == 0 && tree.Hash != tlog.Hash(sha256.Sum256(nil)) {
		return tree, "", nil, fmt.Errorf("%s: an empty log with another root than that of nothing", file)
	}
	return tree, cp.Origin, n.Sigs, nil
}

// tiles reads a log's directory.
type tiles struct{ dir string }

func (tiles) Height() int                         { return height }
func (tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (r tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, t := range wanted {
		data, err := r.tile(t)
		if err != nil {
			return nil, err
		}
		if want := t.W * tlog.HashSize; len(data) < want {
			return nil, fmt.Errorf("%s: %d bytes, expected %d", path(t), len(data), want)
		} else if len(data) > want {
			// Only where a full tile stands in for a partial one.
			data = data[:want]
		}
		read = append(read, data)
	}
	return read, nil
}

// tile is one file. A partial tile may be gone once its full one is there.
func (r tiles) tile(t tlog.Tile) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, path(t)))
	if err == nil && t.L >= 0 && len(data) != t.W*tlog.HashSize {
		return nil, fmt.Errorf("%s: %d bytes, expected %d", path(t), len(data), t.W*tlog.HashSize)
	}
	if errors.Is(err, fs.ErrNotExist) && t.W < width {
		full := t
		full.W = width
		if data, err := os.ReadFile(filepath.Join(r.dir, path(full))); err == nil {
			return data, nil
		}
	}
	return data, err
}

// path maps a path of Go's, tile/8/<L>/<N>[.p/<W>] and tile/8/data/<N>[.p/<W>], to C2SP's, which leaves the height out and says entries.
func path(t tlog.Tile) string {
	p := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", height))
	if rest, is := strings.CutPrefix(p, "data/"); is {
		p = "entries/" + rest
	}
	return "tile/" + p
}

// bundle is the entries of bundle n in a tree of that size: as many as the size says, and nothing after them.
func (r tiles) bundle(n, size int64) ([][]byte, error) {
	t := tlog.Tile{H: height, L: -1, N: n, W: int(min(width, size-n*width))}
	data, err := r.tile(t)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s: cut short in entry %d", path(t), len(entries))
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries, data = append(entries, data[2:end]), data[end:]
	}
	if len(entries) != t.W && len(entries) != width {
		return nil, fmt.Errorf("%s: %d entries, expected %d", path(t), len(entries), t.W)
	}
	return entries[:t.W], nil
}

func tree(dir, vkey, old string) (string, error) {
	now, name, _, err := checkpoint(filepath.Join(dir, "checkpoint"), vkey)
	if err != nil {
		return "", err
	}
	r := tiles{dir}
	// Authenticates each tile that it reads against the root.
	hashes := tlog.TileHashReader(now, r)
	// Which leaves, and thereby which bundles.
	var leaves []int64
	for i := int64(0); i < now.N; i += max(1, now.N/spread) {
		leaves = append(leaves, i)
	}
	if now.N > 0 && leaves[len(leaves)-1] != now.N-1 {
		leaves = append(leaves, now.N-1)
	}
	bundles := map[int64][][]byte{}
	for n := int64(0); n*width < now.N; n++ {
		if now.N <= all || wanted(leaves, n) {
			if bundles[n], err = r.bundle(n, now.N); err != nil {
				return "", err
			}
			if err = leavesOf(hashes, n, bundles[n]); err != nil {
				return "", err
			}
		}
	}
	for _, i := range leaves {
		proof, err := tlog.ProveRecord(now.N, i, hashes)
		if err != nil {
			return "", fmt.Errorf("no inclusion proof of leaf %d: %w", i, err)
		}
		if err := tlog.CheckRecord(proof, now.N, now.Hash, i, tlog.RecordHash(bundles[i/width][i%width])); err != nil {
			return "", fmt.Errorf("inclusion of leaf %d: %w", i, err)
		}
	}
	said := fmt.Sprintf("ok: log %s size %d, %d leaves included, %d bundles", name, now.N, len(leaves), len(bundles))
	if old == "" {
		return said, nil
	}
	before, _, _, err := checkpoint(old, vkey)
	if err != nil {
		return "", err
	}
	if err := grew(before, now, hashes); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, consistent with size %d", said, before.N), nil
}

func wanted(leaves []int64, bundle int64) bool {
	for _, i := range leaves {
		if i/width == bundle {
			return true
		}
	}
	return false
}

// leavesOf compares a bundle's entries with the leaves of the tree, all of them.
func leavesOf(hashes tlog.HashReader, n int64, entries [][]byte) error {
	at := make([]int64, len(entries))
	for k := range entries {
		at[k] = tlog.StoredHashIndex(0, n*width+int64(k))
	}
	leaves, err := hashes.ReadHashes(at)
	if err != nil {
		return fmt.Errorf("tile of bundle %d: %w", n, err)
	}
	for k, entry := range entries {
		if h := tlog.RecordHash(entry); !bytes.Equal(h[:], leaves[k][:]) {
			return fmt.Errorf("entry %d is not what its leaf says", n*width+int64(k))
		}
	}
	return nil
}

// grew holds when the tree of now only added to that of before.
func grew(before, now tlog.Tree, hashes tlog.HashReader) error {
	switch {
	case before.N > now.N:
		return fmt.Errorf("the log shrank from %d to %d", before.N, now.N)
	case before.N == 0:
		return nil
	case before.N == now.N && before.Hash != now.Hash:
		return fmt.Errorf("split view: two roots at size %d", now.N)
	}
	proof, err := tlog.ProveTree(now.N, before.N, hashes)
	if err != nil {
		return fmt.Errorf("no consistency proof from %d: %w", before.N, err)
	}
	if err := tlog.CheckTree(proof, now.N, now.Hash, before.N, before.Hash); err != nil {
		return fmt.Errorf("consistency with size %d: %w", before.N, err)
	}
	return nil
}

func cosigned(file, vkey string, witnesses []string) (string, error) {
	var verifiers []note.Verifier
	for _, w := range witnesses {
		// Some publish the plain vkey of the same key (type 1): this is the one that it means.
		if plain, err := cosig.VKeyToCosignatureV1(w); err == nil {
			w = plain
		}
		v, err := cosig.NewVerifierForCosignatureV1(w)
		if err != nil {
			return "", fmt.Errorf("vkey %q: %w", w, err)
		}
		// The constructor computes the id and does not look at the one that is written.
		if id := fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash()); !strings.HasPrefix(w, id) {
			return "", fmt.Errorf("vkey %q: its key id should be %08x", w, v.KeyHash())
		}
		verifiers = append(verifiers, v)
	}
	t, name, sigs, err := checkpoint(file, vkey, verifiers...)
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("ok: log %s size %d", name, t.N)
	for _, v := range verifiers {
		found := false
		for _, s := range sigs {
			if s.Name == v.Name() && s.Hash == v.KeyHash() {
				when, err := cosig.CoSigV1Timestamp(s)
				if err != nil {
					return "", fmt.Errorf("witness %s: %w", v.Name(), err)
				}
				said += fmt.Sprintf(", %s at %d", v.Name(), when.Unix())
				found = true
			}
		}
		if !found {
			return "", fmt.Errorf("%s: not cosigned by %s", file, v.Name())
		}
	}
	return said, nil
}
