// Package status relays a run's status messages from Redis to websockets.
package status

import (
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wepp.example/services/live/hub"
	"wepp.example/services/live/server"
	"wepp.example/services/live/service"
	"wepp.example/services/live/settings"
	"wepp.example/services/live/wire"
)

var channelPattern = regexp.MustCompile(`^[A-Za-z0-9_.;-]+:[A-Za-z0-9_.-]+$`)

// Definition describes the service: GET /<run id>:<channel> relays the Redis channel of the same name.
func Definition() service.Definition {
	return service.Definition{
		Name:     "status2",
		Prefix:   "STATUS",
		Defaults: settings.Defaults{ListenAddress: ":9002", Database: 2, RequestTimeout: time.Second},
		SentName: "messages_forwarded_total",
		Route: func(*redis.Options) server.Route {
			return server.Route{
				Pattern: channelPattern,
				Invalid: "invalid channel",
				Channel: func(name string) string { return name },
				Run: func(name string) string {
					run, _, _ := strings.Cut(name, ":")
					return run
				},
			}
		},
		Handler: func(tools service.Tools) hub.Handler { return relay{log: tools.Log} },
	}
}

// relay publishes messages as they come and stores none.
type relay struct{ log *slog.Logger }

func (relay) Open(*hub.Topic)  {}
func (relay) Ready(*hub.Topic) {}
func (relay) Close(*hub.Topic) {}

func (r relay) Message(topic *hub.Topic, payload string) {
	text, err := Text(payload)
	if err != nil {
		r.log.Error("message not relayed", "topic", topic.Name, "error", err)
		return
	}
	topic.Publish(wire.Text(text))
}

// Text wraps a published text: {"type":"status","data":"<payload>"}. Bytes that are not UTF-8, which JSON cannot
// carry, become U+FFFD.
func Text(payload string) ([]byte, error) {
	return wire.Marshal(struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}{Type: "status", Data: payload})
}
