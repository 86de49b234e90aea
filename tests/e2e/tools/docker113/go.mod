// docker 1.13's own client of registries. It has no modules, so the versions are those of its time.
module lighterage/tests/e2e/tools/docker113

go 1.26.0

tool lighterage/tests/e2e/tools/docker113

require github.com/docker/docker v1.13.1

require (
	github.com/Sirupsen/logrus v0.11.0 // indirect
	github.com/docker/distribution v2.6.2+incompatible // indirect
	github.com/docker/go-connections v0.3.0 // indirect
	github.com/docker/go-units v0.3.1 // indirect
	github.com/gorilla/mux v1.8.1 // indirect
	github.com/opencontainers/runc v1.0.0-rc2 // indirect
	github.com/opencontainers/runtime-spec v1.0.0-rc2 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/spf13/pflag v1.1.0 // indirect
	github.com/vbatts/tar-split v0.10.1 // indirect
	golang.org/x/net v0.62.0 // indirect
)
