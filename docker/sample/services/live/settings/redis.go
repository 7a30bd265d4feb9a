package settings

import (
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
func redisOptions(prefix string, lookup Lookup, database int, timeout time.Duration) (*redis.Options, error) {
	name, address := firstSet(lookup, prefix+"_REDIS_URL", "REDIS_URL")
	if address == "" {
		host, port := "localhost", "6379"
		if _, value := firstSet(lookup, "REDIS_HOST"); value != "" {
			host = value
		}
		if _, value := firstSet(lookup, "REDIS_PORT"); value != "" {
			port = value
		}
		name = "REDIS_HOST and REDIS_PORT"
		address = fmt.Sprintf("redis://%s/%d", net.JoinHostPort(host, port), database)
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
	if options.Password == "" {
		options.Password, err = firstSecret(lookup, prefix+"_REDIS_PASSWORD", "REDIS_PASSWORD")
		if err != nil {
			return nil, err
		}
	}
	options.DialTimeout = timeout
	options.ReadTimeout = timeout
	options.WriteTimeout = timeout
	options.PoolSize = 8
	options.MinIdleConns = 0
	// This service decides itself when to try again and when to tell its clients; hidden retries would double both.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.Protocol = 2
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return options, nil
}

// firstSecret applies the rule of every service to each name in turn: NAME_FILE wins and must be readable and not
// empty, else NAME, else "".
func firstSecret(lookup Lookup, names ...string) (string, error) {
	for _, name := range names {
		if _, path := firstSet(lookup, name+"_FILE"); path != "" {
			content, err := os.ReadFile(path)
			if err != nil {
				return "", fmt.Errorf("%s_FILE: %w", name, err)
			}
			secret := strings.TrimSpace(string(content))
			if secret == "" {
				return "", fmt.Errorf("%s_FILE: %s is empty", name, path)
			}
			return secret, nil
		}
		if _, secret := firstSet(lookup, name); secret != "" {
			return secret, nil
		}
	}
	return "", nil
}

func firstSet(lookup Lookup, names ...string) (name, value string) {
	for _, name := range names {
		if value := strings.TrimSpace(lookup(name)); value != "" {
			return name, value
		}
	}
	return "", ""
}
