package live

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var defaults = Definition{Prefix: "STATUS", ListenAddress: ":9002", Database: 2, RequestTimeout: time.Second}

func load(t *testing.T, values map[string]string) (Settings, error) {
	t.Helper()
	return LoadSettings(defaults, func(name string) string { return values[name] })
}

func must(t *testing.T, values map[string]string) Settings {
	t.Helper()
	result, err := load(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestAnEmptyEnvironmentGivesTheDocumentedDefaults(t *testing.T) {
	got := must(t, map[string]string{"STATUS_PING_INTERVAL": "  "})
	if got.ListenAddress != ":9002" || got.PingInterval != 5*time.Second || got.PongTimeout != 75*time.Second || got.WriteTimeout != 2*time.Second ||
		got.RequestTimeout != time.Second || got.RetryBase != time.Second || got.RetryMax != 30*time.Second || got.MaxRetries != 5 ||
		got.MaxMessageSize != 65536 || got.MetricsEnabled || got.AllowedOrigins != nil || got.LogLevel != slog.LevelInfo {
		t.Fatalf("got %+v", got)
	}
	if got.Redis.Addr != "localhost:6379" || got.Redis.DB != 2 || got.Redis.Password != "" {
		t.Fatalf("got %+v", got.Redis)
	}
}

func TestEveryVariableIsRead(t *testing.T) {
	got := must(t, map[string]string{
		"STATUS_LISTEN_ADDR": "127.0.0.1:1", "STATUS_PING_INTERVAL": "1s", "STATUS_PONG_TIMEOUT": "2s", "STATUS_WRITE_TIMEOUT": "3s",
		"STATUS_REDIS_REQUEST_TIMEOUT": "4s", "STATUS_REDIS_RETRY_BASE": "5s", "STATUS_REDIS_RETRY_MAX": "6s", "STATUS_REDIS_MAX_RETRIES": "-1",
		"STATUS_MAX_MESSAGE_SIZE": "7", "STATUS_METRICS_ENABLED": "true", "STATUS_ALLOWED_ORIGINS": " a.example, ,b.example ", "STATUS_LOG_LEVEL": "WARN",
		"STATUS_ACCESS_URL": "http://browse:9009/access", "STATUS_MAX_PER_ADDRESS": "9", "TRUSTED_PROXIES": "10.0.0.0/8",
	})
	if got.ListenAddress != "127.0.0.1:1" || got.PingInterval != time.Second || got.PongTimeout != 2*time.Second || got.WriteTimeout != 3*time.Second ||
		got.RequestTimeout != 4*time.Second || got.RetryBase != 5*time.Second || got.RetryMax != 6*time.Second || got.MaxRetries != -1 ||
		got.MaxMessageSize != 7 || !got.MetricsEnabled || strings.Join(got.AllowedOrigins, "|") != "a.example|b.example" || got.LogLevel != slog.LevelWarn ||
		got.AccessURL != "http://browse:9009/access" || got.MaxPerAddress != 9 || got.Proxies != 2 {
		t.Fatalf("got %+v", got)
	}
}

func TestALimitOfNothingMeansTheDefault(t *testing.T) {
	if got := must(t, map[string]string{"STATUS_REDIS_REQUEST_TIMEOUT": "0s"}); got.RequestTimeout != time.Second {
		t.Fatalf("got %v", got.RequestTimeout)
	}
}

func TestAValueThatCannotBeReadIsAnErrorThatNamesItsVariable(t *testing.T) {
	for name, value := range map[string]string{
		"PING_INTERVAL": "5", "PONG_TIMEOUT": "soon", "REDIS_MAX_RETRIES": "1.5", "MAX_MESSAGE_SIZE": "0", "METRICS_ENABLED": "maybe",
		"LOG_LEVEL": "loud", "REDIS_RETRY_MAX": "1ms", "ALLOWED_ORIGINS": "[a.example",
	} {
		if _, err := load(t, map[string]string{"STATUS_" + name: value}); err == nil || !strings.Contains(err.Error(), "STATUS_"+name) {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
}

func TestTheRedisAddressIsTheFirstThatIsSet(t *testing.T) {
	cases := map[string]struct {
		values   map[string]string
		address  string
		database int
	}{
		"own URL":                     {map[string]string{"STATUS_REDIS_URL": "redis://own:1/7", "REDIS_URL": "redis://shared:2/5", "REDIS_HOST": "host"}, "own:1", 7},
		"shared URL keeps its number": {map[string]string{"REDIS_URL": "redis://shared:2/5", "REDIS_HOST": "host"}, "shared:2", 5},
		"host and port":               {map[string]string{"REDIS_HOST": "host", "REDIS_PORT": "3"}, "host:3", 2},
		"host of IPv6":                {map[string]string{"REDIS_HOST": "::1"}, "[::1]:6379", 2},
	}
	for name, c := range cases {
		if got := must(t, c.values).Redis; got.Addr != c.address || got.DB != c.database {
			t.Errorf("%s: got %s/%d", name, got.Addr, got.DB)
		}
	}
}

func TestThePasswordComesFromTheURLElseTheFileElseTheVariable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(" from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		values map[string]string
		want   string
	}{
		"URL":                  {map[string]string{"STATUS_REDIS_URL": "redis://:from%20url@h:1/2", "REDIS_PASSWORD_FILE": path}, "from url"},
		"file before variable": {map[string]string{"REDIS_PASSWORD_FILE": path, "REDIS_PASSWORD": "from variable"}, "from file"},
		"own before shared":    {map[string]string{"STATUS_REDIS_PASSWORD": " own ", "REDIS_PASSWORD_FILE": path}, "own"},
		"blank file name":      {map[string]string{"REDIS_PASSWORD_FILE": " ", "REDIS_PASSWORD": "from variable"}, "from variable"},
	}
	for name, c := range cases {
		if got := must(t, c.values).Redis.Password; got != c.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestASecretFileThatIsMissingOrEmptyIsAnErrorEvenWithAVariable(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + "-missing"} {
		_, err := load(t, map[string]string{"REDIS_PASSWORD_FILE": path, "REDIS_PASSWORD": "x"})
		if err == nil || !strings.Contains(err.Error(), "REDIS_PASSWORD_FILE") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestABadAddressIsAnErrorThatDoesNotShowThePassword(t *testing.T) {
	for _, address := range []string{"redis://:hidden@ho st:1/2", "http://:hidden@h:1", "redis://:hidden@h:1/two", "redis://:hid%zzden@h:1"} {
		_, err := load(t, map[string]string{"REDIS_URL": address})
		if err == nil || !strings.Contains(err.Error(), "REDIS_URL") || strings.Contains(err.Error(), "hid") {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

func TestAnAddressThatCannotBeAskedIsRefusedAtTheStart(t *testing.T) {
	for _, base := range []string{"browse:9009", "https://", "http://bad host/x", "/access"} {
		if _, err := load(t, map[string]string{"STATUS_ACCESS_URL": base}); err == nil || !strings.Contains(err.Error(), "STATUS_ACCESS_URL") {
			t.Errorf("%q: got %v", base, err)
		}
	}
}
