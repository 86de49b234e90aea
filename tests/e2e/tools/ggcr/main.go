// Prints what go-containerregistry finds in a registry: kaniko, ko, crane, flux and cosign are built on it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// found is what a command prints, as JSON.
type found struct {
	Tags      []string        `json:"tags,omitempty"`
	Digest    string          `json:"digest,omitempty"`
	MediaType types.MediaType `json:"mediaType,omitempty"`
	Size      int64           `json:"size,omitempty"`
	Referrers []v1.Descriptor `json:"referrers,omitempty"`
}

func main() {
	result, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		panic(err)
	}
}

func run(command, argument string) (*found, error) {
	if command == "list" {
		repository, err := name.NewRepository(argument)
		if err != nil {
			return nil, err
		}
		tags, err := remote.List(repository)
		return &found{Tags: tags}, err
	}
	reference, err := name.ParseReference(argument)
	if err != nil {
		return nil, err
	}
	switch command {
	case "head":
		descriptor, err := remote.Head(reference)
		if err != nil {
			return nil, err
		}
		return described(descriptor), nil
	case "manifest":
		answer, err := remote.Get(reference)
		if err != nil {
			return nil, err
		}
		return described(&answer.Descriptor), nil
	case "image":
		// Every blob is read, and compared with what names it.
		image, err := remote.Image(reference)
		if err != nil {
			return nil, err
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		return &found{Digest: digest.String()}, validate.Image(image)
	case "referrers":
		index, err := remote.Referrers(reference.(name.Digest))
		if err != nil {
			return nil, err
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		return &found{Referrers: manifest.Manifests}, nil
	}
	return nil, fmt.Errorf("no command %q", command)
}

func described(descriptor *v1.Descriptor) *found {
	return &found{
		Digest:    descriptor.Digest.String(),
		MediaType: descriptor.MediaType,
		Size:      descriptor.Size,
	}
}
