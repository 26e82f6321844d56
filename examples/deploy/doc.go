// Package deploy shows how examples/server is deployed: a Dockerfile, a
// compose.yaml with a Redis that keeps its data, and manifests for Kubernetes with
// probes and a rolling update. The tests of the package check these files as far as
// that goes without a container engine: they build the program with the
// Dockerfile's command, and run it with the environment of the manifests.
package deploy
