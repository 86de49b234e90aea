// The oracle: what distribution and libtrust themselves make of our inputs.
//
//	oracle convert CONFIG NAME TAG [DIGEST...]   the canonical schema 1 payload, on stdout
//	oracle convert                               the same for each case, a line of JSON, on stdin
//	oracle sign KEY                              the payload on stdin, signed by libtrust
//	oracle verify                                the payload digest of the signed body on stdin
//
// A refusal is one line on stderr and exit status 1 (`convert` of lines: an "error" in the answer).
// It is built against Debian's packages, without modules: see tests/kit/oracle.py.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/docker/distribution"
	"github.com/docker/distribution/manifest/schema1"
	"github.com/docker/distribution/reference"
	"github.com/docker/libtrust"
	"github.com/opencontainers/go-digest"
)

func main() {
	out, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(out)
}

func run(args []string) ([]byte, error) {
	switch {
	case len(args) == 1 && args[0] == "convert":
		return nil, convertLines(os.Stdin, os.Stdout)
	case len(args) >= 4 && args[0] == "convert":
		config, err := os.ReadFile(args[1])
		if err != nil {
			return nil, err
		}
		key, err := libtrust.GenerateECP256PrivateKey()
		if err != nil {
			return nil, err
		}
		return convert(key, conversion{Config: config, Name: args[2], Tag: args[3], Layers: args[4:]})
	case len(args) == 2 && args[0] == "sign":
		return sign(args[1], os.Stdin)
	case len(args) == 1 && args[0] == "verify":
		return verify(os.Stdin)
	}
	return nil, errors.New("usage: oracle convert [CONFIG NAME TAG [DIGEST...]] | sign KEY | verify")
}

// conversion is one case; Config is base64 in its JSON.
type conversion struct {
	Config []byte   `json:"config"`
	Name   string   `json:"name"`
	Tag    string   `json:"tag"`
	Layers []string `json:"layers"`
}

type answer struct {
	Payload []byte `json:"payload,omitempty"`
	Error   string `json:"error,omitempty"`
}

func convertLines(in io.Reader, out io.Writer) error {
	// One key for all: making one costs more than a conversion.
	key, err := libtrust.GenerateECP256PrivateKey()
	if err != nil {
		return err
	}
	cases, answers := json.NewDecoder(in), json.NewEncoder(out)
	for cases.More() {
		var c conversion
		if err := cases.Decode(&c); err != nil {
			return err
		}
		var a answer
		if a.Payload, err = convert(key, c); err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// convert does what distribution's registry/handlers/manifests.go does for a client of schema 1.
func convert(key libtrust.PrivateKey, c conversion) (payload []byte, err error) {
	defer func() {
		// A config without rootfs makes it panic.
		if cause := recover(); cause != nil {
			payload, err = nil, fmt.Errorf("panic: %v", cause)
		}
	}()
	name, err := reference.WithName(c.Name)
	if err != nil {
		return nil, err
	}
	if c.Tag != "" {
		if name, err = reference.WithTag(name, c.Tag); err != nil {
			return nil, err
		}
	}
	builder := schema1.NewConfigManifestBuilder(emptyLayers{}, key, name, c.Config)
	for _, layer := range c.Layers {
		if err := builder.AppendReference(distribution.Descriptor{Digest: digest.Digest(layer)}); err != nil {
			return nil, err
		}
	}
	manifest, err := builder.Build(context.Background())
	if err != nil {
		return nil, err
	}
	return manifest.(*schema1.SignedManifest).Canonical, nil
}

// emptyLayers has every blob that it is asked for, which is only ever the empty layer.
type emptyLayers struct{ distribution.BlobService }

func (emptyLayers) Stat(_ context.Context, d digest.Digest) (distribution.Descriptor, error) {
	return distribution.Descriptor{Digest: d}, nil
}

func sign(keyFile string, in io.Reader) ([]byte, error) {
	key, err := libtrust.LoadKeyFile(keyFile)
	if err != nil {
		return nil, err
	}
	payload, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	signature, err := libtrust.NewJSONSignature(payload)
	if err != nil {
		return nil, err
	}
	if err := signature.Sign(key); err != nil {
		return nil, err
	}
	return signature.PrettySignature("signatures")
}

// verify does what docker 1.6 does with a schema 1 manifest that it pulled.
func verify(in io.Reader) ([]byte, error) {
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	var signed schema1.SignedManifest
	if err := signed.UnmarshalJSON(body); err != nil {
		return nil, err
	}
	keys, err := schema1.Verify(&signed)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no signatures")
	}
	return []byte(digest.FromBytes(signed.Canonical).String() + "\n"), nil
}
