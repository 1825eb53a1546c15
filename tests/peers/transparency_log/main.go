// Reads a log of ours as Go's own checksum database client would, and signs one checkpoint for us to read.
//
//	transparency_log FOLDER
//
// FOLDER holds the key (key), the checkpoints of two sizes (old, new), tiles (tile/...), and proofs (proofs.json).
// Nothing here knows our code: keys and signatures are golang.org/x/mod/sumdb/note's, trees and tiles sumdb/tlog's.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

// Proofs are what we claim about the newer tree.
type Proofs struct {
	Consistency []tlog.Hash
	Inclusions  []struct {
		Index int64
		Leaf  tlog.Hash
		Proof []tlog.Hash
	}
}

type Answer struct {
	Key        string `json:"key"`
	Checkpoint string `json:"checkpoint"`
}

// tiles reads the files of a folder. A tile's path in Go names its height, which C2SP leaves out.
type tiles struct{ folder string }

func (t tiles) Height() int { return tileHeight }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.folder, path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	answer, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(answer)
}

func read(folder string) (*Answer, error) {
	key, err := os.ReadFile(filepath.Join(folder, "key"))
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(string(key))
	if err != nil {
		return nil, err
	}
	before, _, err := open(folder, "old", verifier)
	if err != nil {
		return nil, err
	}
	now, text, err := open(folder, "new", verifier)
	if err != nil {
		return nil, err
	}
	if err := compare(folder, before, now); err != nil {
		return nil, err
	}
	return sign(text)
}

// open verifies a checkpoint and takes its head out.
func open(folder, name string, verifier note.Verifier) (tlog.Tree, string, error) {
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return tlog.Tree{}, "", err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, "", fmt.Errorf("checkpoint %s: %w", name, err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, "", fmt.Errorf("checkpoint %s: %q", name, opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, opened.Text, err
}

// compare makes every claimed proof from the tiles, which are verified against the checkpoint, and checks the claims.
func compare(folder string, before, now tlog.Tree) error {
	data, err := os.ReadFile(filepath.Join(folder, "proofs.json"))
	if err != nil {
		return err
	}
	var claimed Proofs
	if err := json.Unmarshal(data, &claimed); err != nil {
		return err
	}
	reader := tlog.TileHashReader(now, tiles{folder})
	consistency, err := tlog.ProveTree(now.N, before.N, reader)
	if err != nil {
		return fmt.Errorf("consistency: %w", err)
	}
	if fmt.Sprint([]tlog.Hash(consistency)) != fmt.Sprint(claimed.Consistency) {
		return fmt.Errorf("another consistency proof: %v", consistency)
	}
	if err := tlog.CheckTree(claimed.Consistency, now.N, now.Hash, before.N, before.Hash); err != nil {
		return err
	}
	if len(claimed.Inclusions) == 0 {
		return fmt.Errorf("no inclusion proofs")
	}
	for _, claim := range claimed.Inclusions {
		proof, err := tlog.ProveRecord(now.N, claim.Index, reader)
		if err != nil {
			return fmt.Errorf("inclusion of %d: %w", claim.Index, err)
		}
		if fmt.Sprint([]tlog.Hash(proof)) != fmt.Sprint(claim.Proof) {
			return fmt.Errorf("another inclusion proof of %d: %v", claim.Index, proof)
		}
		if err := tlog.CheckRecord(claim.Proof, now.N, now.Hash, claim.Index, claim.Leaf); err != nil {
			return fmt.Errorf("inclusion of %d: %w", claim.Index, err)
		}
	}
	return nil
}

// sign signs the text under a fresh key with the same name.
func sign(text string) (*Answer, error) {
	name, _, _ := strings.Cut(text, "\n")
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	return &Answer{Key: public, Checkpoint: string(signed)}, err
}
