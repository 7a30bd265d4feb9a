// Package settings is what a service reads from its environment: names, defaults and the errors for bad values.
package settings

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lookup returns the value of an environment variable, "" when it is unset (os.Getenv has this shape).
type Lookup func(name string) string

// Defaults are the values that differ from service to service.
type Defaults struct {
	ListenAddress  string        // host:port, host may be empty
	Database       int           // Redis database when no URL names one
	RequestTimeout time.Duration // bound of one Redis command
}

// Settings is the whole configuration of one service.
type Settings struct {
	ListenAddress  string
	Redis          *redis.Options
	RequestTimeout time.Duration // bound of one Redis command and of the wait for a subscription
	RetryBase      time.Duration // first pause after a failed Redis connection; doubles up to RetryMax
	RetryMax       time.Duration
	MaxRetries     int           // failures in a row before clients are closed; 0 or less means never
	PingInterval   time.Duration // between two ping frames
	PongTimeout    time.Duration // a client silent for longer is closed
	WriteTimeout   time.Duration // a client that takes longer for one write is dropped
	MaxMessageSize int64         // bytes of one frame from a client
	AllowedOrigins []string      // beside the site's own
	AccessURL      string        // answers whether a visitor may read a run (see server.Access); empty: every run is open
	MaxPerAddress  int           // websockets of one client address; 0: no limit
	Proxies        int           // that name the client in X-Forwarded-For: the stack's own, and one before it
	MetricsEnabled bool
	LogLevel       slog.Level
}

// Load reads every variable under `prefix` ("STATUS" gives STATUS_PING_INTERVAL and so on).
//
// A blank value counts as unset. A value that cannot be read is an error that names the variable: a typing error in
// a time limit must not turn silently into the default. Secrets never appear in an error.
func Load(prefix string, lookup Lookup, defaults Defaults) (Settings, error) {
	reader := reader{prefix: prefix + "_", lookup: lookup}
	result := Settings{
		ListenAddress:  reader.text("LISTEN_ADDR", defaults.ListenAddress),
		RequestTimeout: reader.duration("REDIS_REQUEST_TIMEOUT", defaults.RequestTimeout),
		RetryBase:      reader.duration("REDIS_RETRY_BASE", time.Second),
		RetryMax:       reader.duration("REDIS_RETRY_MAX", 30*time.Second),
		MaxRetries:     reader.integer("REDIS_MAX_RETRIES", 5),
		PingInterval:   reader.duration("PING_INTERVAL", 5*time.Second),
		PongTimeout:    reader.duration("PONG_TIMEOUT", 75*time.Second),
		WriteTimeout:   reader.duration("WRITE_TIMEOUT", 2*time.Second),
		MaxMessageSize: int64(reader.integer("MAX_MESSAGE_SIZE", 65536)),
		AllowedOrigins: splitList(reader.text("ALLOWED_ORIGINS", "")),
		AccessURL:      reader.text("ACCESS_URL", ""),
		MaxPerAddress:  reader.integer("MAX_PER_ADDRESS", 0),
		Proxies:        1,
		MetricsEnabled: reader.boolean("METRICS_ENABLED", false),
		LogLevel:       reader.level("LOG_LEVEL", slog.LevelInfo),
	}
	if strings.TrimSpace(lookup("TRUSTED_PROXIES")) != "" {
		result.Proxies = 2
	}
	if result.MaxMessageSize <= 0 {
		reader.fail("MAX_MESSAGE_SIZE", "must be positive")
	}
	if result.RetryMax < result.RetryBase {
		reader.fail("REDIS_RETRY_MAX", "must not be below the retry base")
	}
	if reader.err != nil {
		return Settings{}, reader.err
	}
	options, err := redisOptions(prefix, lookup, defaults.Database, result.RequestTimeout)
	if err != nil {
		return Settings{}, err
	}
	result.Redis = options
	return result, nil
}

// reader collects the first problem, so that Load reads as one table.
type reader struct {
	prefix string
	lookup Lookup
	err    error
}

func (r *reader) fail(name, problem string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s%s: %s", r.prefix, name, problem)
	}
}

func (r *reader) text(name, fallback string) string {
	if value := strings.TrimSpace(r.lookup(r.prefix + name)); value != "" {
		return value
	}
	return fallback
}

// duration accepts Go's notation ("75s", "500ms"). Zero and less select the default, because a limit of nothing
// would end every command and every connection at once.
func (r *reader) duration(name string, fallback time.Duration) time.Duration {
	text := r.text(name, "")
	if text == "" {
		return fallback
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		r.fail(name, fmt.Sprintf("%q is not a duration such as 5s or 500ms", text))
		return fallback
	}
	if value <= 0 {
		return fallback
	}
	return value
}

func (r *reader) integer(name string, fallback int) int {
	text := r.text(name, "")
	if text == "" {
		return fallback
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		r.fail(name, fmt.Sprintf("%q is not a whole number", text))
		return fallback
	}
	return value
}

func (r *reader) boolean(name string, fallback bool) bool {
	switch text := strings.ToLower(r.text(name, "")); text {
	case "":
		return fallback
	case "1", "true", "yes", "on":
		return true
	case "0", "false", "no", "off":
		return false
	default:
		r.fail(name, fmt.Sprintf("%q is neither true nor false", text))
		return fallback
	}
}

func (r *reader) level(name string, fallback slog.Level) slog.Level {
	text := strings.ToLower(r.text(name, ""))
	switch text {
	case "":
		return fallback
	case "warning":
		text = "warn"
	case "critical", "fatal":
		text = "error"
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		r.fail(name, fmt.Sprintf("%q is not one of debug, info, warn, error", text))
		return fallback
	}
	return level
}

func splitList(text string) []string {
	var items []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
