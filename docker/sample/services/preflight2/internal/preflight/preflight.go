// Package preflight is the definition of the service: names, route and the Redis channel that announces a run.
package preflight

import (
	"fmt"
	"regexp"
	"time"

	"github.com/redis/go-redis/v9"

	"wepp.example/services/live/feed"
	"wepp.example/services/live/hub"
	"wepp.example/services/live/server"
	"wepp.example/services/live/service"
	"wepp.example/services/live/settings"
	"wepp.example/services/preflight2/internal/watch"
)

var runPattern = regexp.MustCompile(`^[A-Za-z0-9_.;-]+$`)

// Definition describes the service: GET /<run id> shows the state of that run and every change of it.
func Definition() service.Definition {
	return service.Definition{
		Name:     "preflight2",
		Prefix:   "PREFLIGHT",
		Defaults: settings.Defaults{ListenAddress: ":9001", Database: 0, RequestTimeout: 500 * time.Millisecond},
		SentName: "messages_sent_total",
		Route: func(options *redis.Options) server.Route {
			return server.Route{
				Pattern: runPattern,
				Invalid: "invalid run id",
				// https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/ - a plain subscription, because
				// a run id holds no wildcard and Redis compares every pattern with every message.
				Channel: func(name string) string { return fmt.Sprintf("__keyspace@%d__:%s", options.DB, name) },
				Run:     func(name string) string { return name },
			}
		},
		Handler: func(tools service.Tools) hub.Handler {
			values := tools.Settings
			retry := feed.Retry{Base: values.RetryBase, Max: values.RetryMax}
			return watch.New(tools.Redis, values.RequestTimeout, retry, tools.Metrics, tools.Log)
		},
	}
}
