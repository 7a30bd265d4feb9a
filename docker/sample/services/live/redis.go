package live

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisOptions finds the Redis to talk to: <PREFIX>_REDIS_URL, then REDIS_URL (each keeps the database it names),
// else REDIS_HOST and REDIS_PORT with the service's own database. A password in the URL wins over every secret.
func redisOptions(of Definition, lookup Lookup, timeout time.Duration) (*redis.Options, error) {
	text := func(name string) string { return strings.TrimSpace(lookup(name)) }
	name, address := of.Prefix+"_REDIS_URL", text(of.Prefix+"_REDIS_URL")
	if address == "" {
		name, address = "REDIS_URL", text("REDIS_URL")
	}
	if address == "" {
		name = "REDIS_HOST and REDIS_PORT"
		server := net.JoinHostPort(cmp.Or(text("REDIS_HOST"), "localhost"), cmp.Or(text("REDIS_PORT"), "6379"))
		address = fmt.Sprintf("redis://%s/%d", server, of.Database)
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		// The parser's own message may quote the URL, password included.
		var problem *url.Error
		if errors.As(err, &problem) {
			err = errors.New("malformed URL")
		}
		return nil, fmt.Errorf("%s: not a usable Redis address: %w", name, err)
	}
	for _, name := range []string{of.Prefix + "_REDIS_PASSWORD", "REDIS_PASSWORD"} {
		if options.Password == "" {
			if options.Password, err = secret(text, name); err != nil {
				return nil, err
			}
		}
	}
	options.DialTimeout = timeout
	options.ReadTimeout = timeout
	options.WriteTimeout = timeout
	options.PoolSize = 8
	// This service decides itself when to try again and when to tell its clients; hidden retries would double both.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.Protocol = 2
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return options, nil
}

// secret applies the rule of every service: NAME_FILE wins and must be readable and not empty, else NAME, else "".
func secret(text Lookup, name string) (string, error) {
	path := text(name + "_FILE")
	if path == "" {
		return text(name), nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	if value := strings.TrimSpace(string(content)); value != "" {
		return value, nil
	}
	return "", fmt.Errorf("%s_FILE: %s is empty", name, path)
}
