// Package servicetest is what integration tests share: a real redis-server, a running service and a page's side of
// a websocket. It is imported by tests only.
package servicetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Timeout is how long a test waits for something that must happen; it is no measure of speed.
const Timeout = 20 * time.Second

// Redis is a server process of its own on a free port of the loopback.
type Redis struct {
	Client *redis.Client
	Port   int

	arguments []string
	process   *exec.Cmd
}

// StartRedis starts redis-server, which must be on PATH (or named by REDIS_SERVER), and stops it with the test.
// It announces changes of hashes as the stack's own Redis does; further arguments may change that.
func StartRedis(t *testing.T, arguments ...string) *Redis {
	t.Helper()
	port := freePort(t)
	server := &Redis{Port: port, arguments: append([]string{
		"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--notify-keyspace-events", "Kh",
	}, arguments...)}
	server.Client = redis.NewClient(&redis.Options{Addr: server.Address(), MaxRetries: -1})
	server.Start(t)
	t.Cleanup(func() {
		_ = server.Client.Close()
		server.Stop()
	})
	return server
}

// Address is host:port.
func (s *Redis) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// Start starts the process and waits until it answers.
func (s *Redis) Start(t *testing.T) {
	t.Helper()
	program := os.Getenv("REDIS_SERVER")
	if program == "" {
		program = "redis-server"
	}
	s.process = exec.Command(program, s.arguments...)
	if err := s.process.Start(); err != nil {
		t.Fatalf("integration tests need redis-server: %v", err)
	}
	Eventually(t, "redis-server answers", func() bool {
		err := s.Client.Ping(context.Background()).Err()
		return err == nil || redis.HasErrorPrefix(err, "NOAUTH")
	})
}

// Stop kills the process, as a power cut would.
func (s *Redis) Stop() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

// Eventually waits for a condition and fails the test when it does not come true.
func Eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(Timeout)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}
