package deploy_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/mcpoauth/mcpoauth/internal/ports"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// part is a part of a YAML document.
type part map[string]any

// at returns the part under a path, such as "spec.template.spec".
func at(t *testing.T, doc any, path string) any {
	t.Helper()
	for name := range strings.SplitSeq(path, ".") {
		if n, err := strconv.Atoi(name); err == nil {
			doc = doc.([]any)[n]
			continue
		}
		m, ok := doc.(part)
		require.True(t, ok, "%s: %v", path, doc)
		doc = m[name]
		require.NotNil(t, doc, "%s is missing", path)
	}
	return doc
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// documents returns the documents of a YAML file by kind and name.
func documents(t *testing.T, name string) map[string]part {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, name)))
	found := make(map[string]part)
	for {
		var doc part
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		if doc["kind"] != nil {
			found[at(t, doc, "kind").(string)+" "+at(t, doc, "metadata.name").(string)] = doc
		} else {
			found[""] = doc
		}
	}
}

// variables are the ones that examples/server documents.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^//\t([A-Z_]+) +`).FindAllStringSubmatch(read(t, "../server/main.go"), -1) {
		known[m[1]] = true
	}
	require.Contains(t, known, "REDIS_URL")
	return known
}

// environment of the server in kubernetes.yaml; a value from a secret is empty.
func environment(t *testing.T) map[string]string {
	t.Helper()
	env := make(map[string]string)
	for _, entry := range at(t, documents(t, "kubernetes.yaml")["Deployment mcpoauth"], "spec.template.spec.containers.0.env").([]any) {
		value, _ := entry.(part)["value"].(string)
		env[entry.(part)["name"].(string)] = value
	}
	return env
}

func TestManifests(t *testing.T) {
	t.Parallel()
	docs, known := documents(t, "kubernetes.yaml"), variables(t)
	deployment := docs["Deployment mcpoauth"]
	pod, container := at(t, deployment, "spec.template.spec"), at(t, deployment, "spec.template.spec.containers.0")
	require.GreaterOrEqual(t, at(t, deployment, "spec.replicas"), 2)
	require.Equal(t, 0, at(t, deployment, "spec.strategy.rollingUpdate.maxUnavailable"))
	require.Equal(t, "/healthz", at(t, container, "livenessProbe.httpGet.path"))
	require.Equal(t, "/readyz", at(t, container, "readinessProbe.httpGet.path"))
	pause, grace := at(t, container, "lifecycle.preStop.sleep.seconds").(int), at(t, pod, "terminationGracePeriodSeconds").(int)
	require.GreaterOrEqual(t, grace, pause+15+5, "the server drains for 15 seconds")
	for name := range environment(t) {
		require.True(t, known[name], "%s is no variable of examples/server", name)
	}
	require.Empty(t, environment(t)["MCPOAUTH_SEAL_KEYS"], "keys are in no manifest")
	labels := at(t, deployment, "spec.template.metadata.labels.app")
	for _, of := range []string{"Service mcpoauth:spec.selector.app", "PodDisruptionBudget mcpoauth:spec.selector.matchLabels.app", "Deployment mcpoauth:spec.selector.matchLabels.app"} {
		name, path, _ := strings.Cut(of, ":")
		require.Equal(t, labels, at(t, docs[name], path), of)
	}
	redis := at(t, docs["StatefulSet mcpoauth-redis"], "spec.template.spec.containers.0")
	requirePersistent(t, at(t, redis, "args"))
	require.Equal(t, "/data", at(t, redis, "volumeMounts.0.mountPath"))
	require.Contains(t, environment(t)["REDIS_URL"], "//"+at(t, docs["Service mcpoauth-redis"], "metadata.name").(string)+":")
}

func TestCompose(t *testing.T) {
	t.Parallel()
	doc, known := documents(t, "compose.yaml")[""], variables(t)
	for name := range at(t, doc, "services.server.environment").(part) {
		require.True(t, known[name], "%s is no variable of examples/server", name)
	}
	requirePersistent(t, at(t, doc, "services.redis.command"))
	require.Equal(t, "redis:/data", at(t, doc, "services.redis.volumes.0"))
	require.Contains(t, doc["volumes"], "redis")
	dockerfile := filepath.Join(at(t, doc, "services.server.build.context").(string), at(t, doc, "services.server.build.dockerfile").(string))
	require.FileExists(t, dockerfile)
}

func requirePersistent(t *testing.T, args any) {
	t.Helper()
	var words []string
	for _, arg := range args.([]any) {
		words = append(words, arg.(string))
	}
	command := strings.Join(words, " ")
	require.Contains(t, command, "--appendonly yes")
	require.Contains(t, command, "--maxmemory-policy noeviction")
}

// The program that the Dockerfile builds runs with the environment of the manifests,
// is ready, and ends in the time that they give it.
func TestTheProgramRuns(t *testing.T) {
	t.Parallel()
	dockerfile := read(t, "Dockerfile")
	run := regexp.MustCompile(`(?m)^RUN (go build .*)$`).FindStringSubmatch(dockerfile)
	require.NotNil(t, run)
	require.Regexp(t, `(?m)^USER [1-9]`, dockerfile)
	binary := filepath.Join(t.TempDir(), "server")
	args := strings.Fields(strings.Replace(run[1], "/server .", binary+" .", 1))
	build := exec.CommandContext(t.Context(), args[0], args[1:]...)
	build.Dir = "../.."
	require.Contains(t, dockerfile, "\nENV GOWORK=off CGO_ENABLED=0\n", "scratch has no C library")
	build.Env = append(os.Environ(), "GOWORK=off") // with cgo it is the program of the tests of examples/server, which need not be compiled again
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	redis, err := redistest.Start(redistest.Options{})
	require.NoError(t, err)
	t.Cleanup(redis.Stop)
	port, err := ports.Free()
	require.NoError(t, err)
	addr := "127.0.0.1:" + strconv.Itoa(port)
	env := environment(t)
	maps.Copy(env, map[string]string{"ADDR": addr, "REDIS_URL": redis.URL(), "MCPOAUTH_SEAL_KEYS": base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))})
	server := exec.CommandContext(t.Context(), binary)
	var log bytes.Buffer
	server.Stderr = &log
	for name, value := range env {
		server.Env = append(server.Env, name+"="+value)
	}
	require.NoError(t, server.Start())
	for _, path := range []string{"/healthz", "/readyz"} {
		require.Eventually(t, func() bool {
			resp, err := http.Get("http://" + addr + path) //nolint:noctx // a probe
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}, time.Minute, 50*time.Millisecond, path)
	}
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait(), log.String())
}
