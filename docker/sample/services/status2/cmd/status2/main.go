// Command status2 forwards status messages of runs from Redis to websockets: GET /<run id>:<channel> forwards the Redis
// channel of the same name. It is configured by its environment.
package main

import (
	"context"
	"regexp"
	"time"

	"wepp.example/services/live"
)

func main() { live.Main(definition) }

var definition = live.Definition{
	Name:           "status2",
	Prefix:         "STATUS",
	ListenAddress:  ":9002",
	Database:       2,
	RequestTimeout: time.Second,
	SentName:       "messages_forwarded_total",
	Pattern:        regexp.MustCompile(`^[A-Za-z0-9_.;-]+:[A-Za-z0-9_.-]+$`),
	Invalid:        "invalid channel",
	Channel:        func(_ int, name string) string { return name },
	Serve:          forward,
}

// forward publishes messages as they come and stores none.
func forward(ctx context.Context, _ live.Tools, topic *live.Topic) {
	for {
		select {
		case <-ctx.Done():
			return
		case payload := <-topic.Messages:
			topic.Publish(frame(payload))
		}
	}
}

// frame wraps a published text: {"type":"status","data":"<payload>"}. Bytes that are not UTF-8, which JSON cannot
// carry, become U+FFFD.
func frame(payload string) []byte {
	return live.JSON(struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}{Type: "status", Data: payload})
}
