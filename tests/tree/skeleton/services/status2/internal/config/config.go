// Package config reads the service's settings from its environment.
package config

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config holds the settings of one service. Durations and numbers that do not parse keep their defaults.
type Config struct {
	Redis          *redis.Options
	ListenAddr     string
	PingInterval   time.Duration
	PongTimeout    time.Duration
	WriteTimeout   time.Duration
	RequestTimeout time.Duration
	RetryBase      time.Duration
	RetryMax       time.Duration
	MaxRetries     int
	MaxMessageSize int64
	AllowedOrigins []string
	MetricsEnabled bool
}

// Load reads settings named PREFIX_NAME, and those of Redis also without the prefix. database is used when only a host
// is named; a URL keeps its own. It fails when the URL is no Redis URL or the password's file cannot be read.
func Load(prefix, listen string, database int, getenv func(string) string) (*Config, error) {
	get := func(name, standard string) string {
		if value := strings.TrimSpace(getenv(prefix + "_" + name)); value != "" {
			return value
		}
		return standard
	}
	duration := func(name string, standard time.Duration) time.Duration {
		if value, err := time.ParseDuration(get(name, "")); err == nil {
			return value
		}
		return standard
	}
	number := func(name string, standard int64) int64 {
		if value, err := strconv.ParseInt(get(name, ""), 10, 64); err == nil {
			return value
		}
		return standard
	}
	options, err := redisOptions(prefix, database, getenv)
	if err != nil {
		return nil, err
	}
	enabled, _ := strconv.ParseBool(get("METRICS_ENABLED", "false"))
	return &Config{
		Redis:          options,
		ListenAddr:     get("LISTEN_ADDR", listen),
		PingInterval:   duration("PING_INTERVAL", 5*time.Second),
		PongTimeout:    duration("PONG_TIMEOUT", 75*time.Second),
		WriteTimeout:   duration("WRITE_TIMEOUT", 2*time.Second),
		RequestTimeout: duration("REDIS_REQUEST_TIMEOUT", time.Second),
		RetryBase:      duration("REDIS_RETRY_BASE", time.Second),
		RetryMax:       duration("REDIS_RETRY_MAX", 30*time.Second),
		MaxRetries:     int(number("REDIS_MAX_RETRIES", 5)),
		MaxMessageSize: number("MAX_MESSAGE_SIZE", 65536),
		AllowedOrigins: strings.FieldsFunc(get("ALLOWED_ORIGINS", ""), func(r rune) bool { return r == ',' || r == ' ' }),
		MetricsEnabled: enabled,
	}, nil
}

func redisOptions(prefix string, database int, getenv func(string) string) (*redis.Options, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := strings.TrimSpace(getenv(name)); value != "" {
				return value
			}
		}
		return ""
	}
	url := first(prefix+"_REDIS_URL", "REDIS_URL")
	if url == "" {
		host, port := first("REDIS_HOST"), first("REDIS_PORT")
		if host == "" {
			host = "localhost"
		}
		if port == "" {
			port = "6379"
		}
		url = fmt.Sprintf("redis://%s:%s/%d", host, port, database)
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("the Redis URL cannot be parsed") // the cause would repeat a password in it
	}
	if options.Password != "" {
		return options, nil
	}
	if path := first(prefix+"_REDIS_PASSWORD_FILE", "REDIS_PASSWORD_FILE"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("the Redis password: %w", err)
		}
		if options.Password = strings.TrimSpace(string(text)); options.Password == "" {
			return nil, fmt.Errorf("the Redis password: %s is empty", path)
		}
		return options, nil
	}
	options.Password = first(prefix+"_REDIS_PASSWORD", "REDIS_PASSWORD")
	return options, nil
}
