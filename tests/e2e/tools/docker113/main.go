// Asks a registry's v1 API as docker 1.13.1 does after a refusal, by its own code, and prints what it
// prints.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/docker/docker/api/types"
	registrytypes "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/reference"
	"github.com/docker/docker/registry"
)

func main() {
	if err := pull(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pull(image string) error {
	named, err := reference.ParseNamed(image)
	if err != nil {
		return err
	}
	index := &registrytypes.IndexInfo{Name: named.Hostname(), Secure: false}
	endpoint, err := registry.NewV1Endpoint(index, "docker/1.13.1", http.Header{})
	if err != nil {
		return err
	}
	client := registry.HTTPClient(registry.NewTransport(nil))
	session, err := registry.NewSession(client, &types.AuthConfig{}, endpoint)
	if err != nil {
		return err
	}
	_, err = session.GetRepositoryData(named)
	return err
}
