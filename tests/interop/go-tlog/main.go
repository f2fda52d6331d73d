// Command go-tlog reads the folder of an Attorn journal with Go's own transparency log packages,
// which share no code with ours, and verifies what an auditor would:
//
//   - the signature and the form of the checkpoint;
//   - every hash tile, by rebuilding the tree up to the signed root;
//   - every entry of every bundle against the leaf hash the tree has for it;
//   - an inclusion proof for every entry up to 1,000 and for a thousand others, and a consistency
//     proof from each power of two;
//   - optionally, the proofs of an export bundle.
//
// Usage: go-tlog <folder> <vkey> [<bundle.json>]
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: go-tlog <folder> <vkey> [<bundle.json>]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "go-tlog:", err)
		os.Exit(1)
	}
}

func run(dir, vkey string, bundles []string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(signed, verifier)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, folder(dir))
	if err := checkEntries(dir, tree, hashes); err != nil {
		return err
	}
	if err := checkProofs(tree, hashes); err != nil {
		return err
	}
	for _, path := range bundles {
		if err := checkBundle(path, verifier); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	fmt.Printf("go-tlog: %d entries under root %v\n", tree.N, tree.Hash)
	return nil
}

// openCheckpoint verifies a signed note and reads the C2SP tlog-checkpoint in it.
func openCheckpoint(signed []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is not one of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// folder reads tiles where C2SP tlog-tiles puts them: without the height that Go has in the path.
type folder string

func (dir folder) Height() int { return height }

func (dir folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (dir folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		bytes, err := os.ReadFile(filepath.Join(string(dir), "tile", path))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

// checkEntries compares every entry with the leaf hash that the verified tree has for it.
func checkEntries(dir string, tree tlog.Tree, hashes tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += width {
		entries, err := readBundle(dir, first/width, min(width, tree.N-first))
		if err != nil {
			return err
		}
		var indexes []int64
		for i := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(i)))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != leaves[i] {
				return fmt.Errorf("entry %d is not the one that was logged", first+int64(i))
			}
			if !json.Valid(entry) {
				return fmt.Errorf("entry %d is not JSON", first+int64(i))
			}
		}
	}
	return nil
}

// readBundle reads an entry bundle: a big-endian uint16 length before each entry.
func readBundle(dir string, number, count int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: 0, N: number, W: int(count)}
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/0/", height))
	data, err := os.ReadFile(filepath.Join(dir, "tile/entries", path))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("bundle %d is cut", number)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if int64(len(entries)) != count {
		return nil, fmt.Errorf("bundle %d has %d entries, not %d", number, len(entries), count)
	}
	return entries, nil
}

func checkProofs(tree tlog.Tree, hashes tlog.HashReader) error {
	step := tree.N/1000 + 1
	for index := int64(0); index < tree.N; index++ {
		if index >= 1000 && index%step != 0 && index != tree.N-1 {
			continue
		}
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf[0]); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	for old := int64(1); old <= tree.N; old *= 2 {
		root, err := tlog.TreeHash(old, hashes)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, old, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, root); err != nil {
			return fmt.Errorf("tree of %d: %w", old, err)
		}
	}
	return nil
}

type bundle struct {
	Checkpoint  string
	Consistency *struct {
		Checkpoint string
		Proof      []string
	}
	Entries []struct {
		Entry json.RawMessage
		Index int64
		Proof []string
	}
	Version string
}

// checkBundle verifies the proofs that our exporter made with Go's verifier.
func checkBundle(path string, verifier note.Verifier) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	tree, err := openCheckpoint([]byte(b.Checkpoint), verifier)
	if err != nil {
		return err
	}
	if b.Version != "attorn-audit-bundle/1" || len(b.Entries) == 0 {
		return fmt.Errorf("not a bundle, or an empty one")
	}
	var proof []tlog.Hash
	for _, e := range b.Entries {
		own, err := parseHashes(e.Proof)
		if err != nil {
			return err
		}
		// The end of a path may be left out if it is that of the path before.
		missing := pathLength(e.Index, tree.N) - len(own)
		if missing < 0 || missing > len(proof) {
			return fmt.Errorf("entry %d: the proof has the wrong length", e.Index)
		}
		proof = append(own, proof[len(proof)-missing:]...)
		leaf := tlog.RecordHash(e.Entry)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, e.Index, leaf); err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
	}
	if b.Consistency != nil {
		old, err := openCheckpoint([]byte(b.Consistency.Checkpoint), verifier)
		if err != nil {
			return err
		}
		proof, err := parseHashes(b.Consistency.Proof)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("consistency: %w", err)
		}
	}
	return nil
}

// pathLength is the length of the audit path of a leaf.
func pathLength(index, size int64) int {
	inner := bits.Len64(uint64(index ^ (size - 1)))
	return inner + bits.OnesCount64(uint64(index)>>inner)
}

func parseHashes(texts []string) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, text := range texts {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(data) != tlog.HashSize {
			return nil, fmt.Errorf("%q is not a hash", text)
		}
		var hash tlog.Hash
		copy(hash[:], data)
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
