package live

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lookup returns the value of an environment variable, "" when it is unset (os.Getenv has this shape).
type Lookup func(name string) string

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
	AllowedOrigins []string      // beside the site's own: patterns of hosts, or with a scheme of whole origins
	AccessURL      string        // answers whether a visitor may read a run (see access); empty: every run is open
	MaxPerAddress  int           // websockets of one client address; 0: no limit
	Proxies        int           // that name the client in X-Forwarded-For: the stack's own, and one before it
	MetricsEnabled bool
	LogLevel       slog.Level
}

// LoadSettings reads every variable under the service's prefix ("STATUS" gives STATUS_PING_INTERVAL and so on).
//
// A blank value counts as unset. A value that cannot be read is an error that names the variable: a typing error in
// a time limit must not turn silently into the default. Secrets never appear in an error.
func LoadSettings(of Definition, lookup Lookup) (Settings, error) {
	s := Settings{Proxies: 1}
	variables := flag.NewFlagSet(of.Name, flag.ContinueOnError)
	variables.StringVar(&s.ListenAddress, "LISTEN_ADDR", of.ListenAddress, "")
	for name, limit := range map[string]struct {
		value    *time.Duration
		standard time.Duration
	}{
		"REDIS_REQUEST_TIMEOUT": {&s.RequestTimeout, of.RequestTimeout},
		"REDIS_RETRY_BASE":      {&s.RetryBase, time.Second},
		"REDIS_RETRY_MAX":       {&s.RetryMax, 30 * time.Second},
		"PING_INTERVAL":         {&s.PingInterval, 5 * time.Second},
		"PONG_TIMEOUT":          {&s.PongTimeout, 75 * time.Second},
		"WRITE_TIMEOUT":         {&s.WriteTimeout, 2 * time.Second},
	} {
		variables.DurationVar(limit.value, name, limit.standard, "is not a duration such as 5s or 500ms")
	}
	variables.IntVar(&s.MaxRetries, "REDIS_MAX_RETRIES", 5, "is not a whole number")
	variables.Int64Var(&s.MaxMessageSize, "MAX_MESSAGE_SIZE", 65536, "is not a whole number")
	variables.IntVar(&s.MaxPerAddress, "MAX_PER_ADDRESS", 0, "is not a whole number")
	variables.BoolVar(&s.MetricsEnabled, "METRICS_ENABLED", false, "is neither true nor false")
	variables.TextVar(&s.LogLevel, "LOG_LEVEL", slog.LevelInfo, "is not one of debug, info, warn, error")
	variables.Func("ALLOWED_ORIGINS", "holds a malformed pattern", s.setOrigins)
	variables.Func("ACCESS_URL", "is not an address such as http://browse:9009/access", s.setAccessURL)

	var problems []error
	variables.VisitAll(func(variable *flag.Flag) {
		text := strings.TrimSpace(lookup(of.Prefix + "_" + variable.Name))
		if text == "" {
			return
		}
		if variables.Set(variable.Name, text) != nil {
			problems = append(problems, fmt.Errorf("%s_%s: %q %s", of.Prefix, variable.Name, text, variable.Usage))
		} else if limit, ok := variable.Value.(flag.Getter); ok {
			// A limit of nothing would end every command and every connection at once.
			if value, ok := limit.Get().(time.Duration); ok && value <= 0 {
				_ = variables.Set(variable.Name, variable.DefValue)
			}
		}
	})
	if s.MaxMessageSize <= 0 {
		problems = append(problems, fmt.Errorf("%s_MAX_MESSAGE_SIZE: must be positive", of.Prefix))
	}
	if s.RetryMax < s.RetryBase {
		problems = append(problems, fmt.Errorf("%s_REDIS_RETRY_MAX: must not be below the retry base", of.Prefix))
	}
	if strings.TrimSpace(lookup("TRUSTED_PROXIES")) != "" {
		s.Proxies = 2
	}
	options, err := redisOptions(of, lookup, s.RequestTimeout)
	s.Redis = options
	return s, errors.Join(append(problems, err)...)
}

// setOrigins reads patterns such as "wepp.example", "*.wepp.example", "localhost:*" or "https://wepp.example",
// separated by commas; `*` stands for any run of characters.
func (s *Settings) setOrigins(text string) error {
	for pattern := range strings.SplitSeq(strings.ToLower(text), ",") {
		pattern = strings.TrimSuffix(strings.TrimSpace(pattern), "/")
		if pattern == "" {
			continue
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return err
		}
		s.AllowedOrigins = append(s.AllowedOrigins, pattern)
	}
	return nil
}

func (s *Settings) setAccessURL(text string) error {
	address, err := url.Parse(text)
	if err != nil || address.Scheme != "http" || address.Host == "" {
		return errors.New("no such address")
	}
	s.AccessURL = text
	return nil
}

// RetryDelay returns the pause after `failures` attempts in a row have failed (1 or more).
func (s Settings) RetryDelay(failures int) time.Duration {
	delay := s.RetryBase
	for step := 1; step < failures && delay < s.RetryMax; step++ {
		delay *= 2
	}
	return min(delay, s.RetryMax)
}
