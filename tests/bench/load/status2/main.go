// Command status2 measures the status service: many websockets on one channel, messages through Redis, and how
// many frames arrive how late. It prints one line of JSON; the server's share is read from /proc.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"wepp.example/load"
)

func main() {
	address := flag.String("url", "ws://127.0.0.1:9002", "the service, without a path")
	store := flag.String("redis", "redis://127.0.0.1:6379/2", "where to publish")
	channel := flag.String("channel", "load:wepp", "run id and channel")
	clients := flag.Int("clients", 1000, "websockets")
	rate := flag.Int("rate", 20, "messages per second")
	duration := flag.Duration("duration", 20*time.Second, "how long to publish")
	process := flag.Int("pid", os.Getpid(), "process id of the server")
	flag.Parse()
	if err := run(*address+"/"+*channel, *store, *channel, *clients, *rate, *duration, *process); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, store, channel string, clients, rate int, duration time.Duration, process int) error {
	options, err := redis.ParseURL(store)
	if err != nil {
		return err
	}
	publisher := redis.NewClient(options)
	defer func() { _ = publisher.Close() }()
	total := int(duration.Seconds() * float64(rate))
	delays := make([][]time.Duration, clients)
	for index := range delays {
		delays[index] = make([]time.Duration, 0, total)
	}
	opened, err := load.Open(address, clients, func(client int, text []byte) {
		now := time.Now().UnixNano()
		number, _ := strings.CutPrefix(string(text), `{"type":"status","data":"`)
		if sent, err := strconv.ParseInt(strings.TrimSuffix(number, `"}`), 10, 64); err == nil {
			delays[client] = append(delays[client], time.Duration(now-sent))
		}
	})
	if err != nil {
		return err
	}
	server, err := load.Watch(process)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range total {
		<-tick.C
		if err := publisher.Publish(context.Background(), channel, strconv.FormatInt(time.Now().UnixNano(), 10)).Err(); err != nil {
			return err
		}
	}
	cores, megabytes, err := server.Cost()
	if err != nil {
		return err
	}
	dropped := opened.Close(time.Second)
	all := slices.Concat(delays...)
	parts := load.Milliseconds(all, 0.5, 0.99, 1)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"clients": clients, "dropped": dropped, "frames": len(all), "lost": total*clients - len(all),
		"p50_ms": parts[0], "p99_ms": parts[1], "max_ms": parts[2], "cores": cores, "megabytes": megabytes,
	})
}
