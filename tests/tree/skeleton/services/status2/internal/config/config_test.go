package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func load(t *testing.T, environment map[string]string) (*Config, error) {
	t.Helper()
	return Load("STATUS", ":9002", 2, func(name string) string { return environment[name] })
}

func TestAURLKeepsItsOwnDatabaseAndAHostGetsTheServices(t *testing.T) {
	for _, each := range []struct {
		environment map[string]string
		address     string
		database    int
	}{
		{map[string]string{}, "localhost:6379", 2},
		{map[string]string{"REDIS_HOST": "redis", "REDIS_PORT": "6380"}, "redis:6380", 2},
		{map[string]string{"REDIS_URL": "redis://shared:6379/0", "REDIS_HOST": "redis"}, "shared:6379", 0},
		{map[string]string{"STATUS_REDIS_URL": "redis://own:6379/2", "REDIS_URL": "redis://shared:6379/0"}, "own:6379", 2},
	} {
		got, err := load(t, each.environment)
		if err != nil {
			t.Fatal(err)
		}
		if got.Redis.Addr != each.address || got.Redis.DB != each.database {
			t.Errorf("%v: %s/%d", each.environment, got.Redis.Addr, got.Redis.DB)
		}
	}
}

func TestThePasswordsFileComesBeforeThePasswordAndMustHoldOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "redis_password")
	environment := map[string]string{"REDIS_PASSWORD_FILE": file, "REDIS_PASSWORD": "other"}
	if _, err := load(t, environment); err == nil {
		t.Error("a file that is not there was accepted")
	}
	for text, password := range map[string]string{" secret\n": "secret", "\n": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := load(t, environment)
		if (err == nil) != (password != "") || err == nil && got.Redis.Password != password {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestADurationThatDoesNotParseKeepsTheDefault(t *testing.T) {
	got, err := load(t, map[string]string{"STATUS_PING_INTERVAL": "soon", "STATUS_PONG_TIMEOUT": "3s"})
	if err != nil {
		t.Fatal(err)
	}
	if got.PingInterval != 5*time.Second || got.PongTimeout != 3*time.Second {
		t.Error(got.PingInterval, got.PongTimeout)
	}
}
