// Command preflight2 measures the preflight service: many websockets on one run, its hash changed many times a
// second, how often the hash is read for it, and whether and when the last state reaches every client. It prints one
// line of JSON; the server's share is read from /proc and /metrics.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"wepp.example/load"
)

const reads = "preflight2_hash_reads_total"

func main() {
	host := flag.String("host", "127.0.0.1:9001", "the service")
	store := flag.String("redis", "redis://127.0.0.1:6379/0", "where to change the hash")
	run := flag.String("run", "load", "run id")
	clients := flag.Int("clients", 1000, "websockets")
	rate := flag.Int("rate", 50, "changes per second")
	duration := flag.Duration("duration", 20*time.Second, "how long to change the hash")
	process := flag.Int("pid", os.Getpid(), "process id of the server")
	flag.Parse()
	if err := measure(*host, *store, *run, *clients, *rate, *duration, *process); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(host, store, run string, clients, rate int, duration time.Duration, process int) error {
	options, err := redis.ParseURL(store)
	if err != nil {
		return err
	}
	writer := redis.NewClient(options)
	defer func() { _ = writer.Close() }()
	total := int64(duration.Seconds() * float64(rate))
	sent := make([]atomic.Int64, total+1) // when change 1, 2, ... was made, in Unix nanoseconds
	newest := make([]int64, clients)      // the newest change that each client has received
	frames := make([]int, clients)
	delays := make([][]time.Duration, clients) // from a change to the frame that holds it
	last := make([]time.Duration, clients)     // the same of the last change
	opened, err := load.Open("ws://"+host+"/"+run, clients, func(client int, text []byte) {
		now := time.Now().UnixNano()
		change := lastModified(text)
		if change < 1 || change > total {
			return
		}
		frames[client]++
		newest[client] = change
		delay := time.Duration(now - sent[change].Load())
		delays[client] = append(delays[client], delay)
		if change == total {
			last[client] = delay
		}
	})
	if err != nil {
		return err
	}
	server, err := load.Watch(process)
	if err != nil {
		return err
	}
	before, err := metric(host)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for change := int64(1); change <= total; change++ {
		<-tick.C
		sent[change].Store(time.Now().UnixNano())
		if err := writer.HSet(context.Background(), run, "last_modified", change).Err(); err != nil {
			return err
		}
	}
	cores, megabytes, err := server.Cost()
	if err != nil {
		return err
	}
	dropped := opened.Close(time.Second)
	after, err := metric(host)
	if err != nil {
		return err
	}
	var all []time.Duration
	count, without := 0, 0
	for client := range clients {
		all = append(all, delays[client]...)
		count += frames[client]
		if newest[client] != total {
			without++
		}
	}
	parts, end := load.Milliseconds(all, 0.5, 0.99), load.Milliseconds(last, 0.99, 1)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"clients": clients, "dropped": dropped, "changes": total, "reads": after - before, "frames": count,
		"without_last_state": without, "p50_ms": parts[0], "p99_ms": parts[1],
		"last_state_p99_ms": end[0], "last_state_max_ms": end[1], "cores": cores, "megabytes": megabytes,
	})
}

// lastModified returns the number after "last_modified", 0 if there is none.
func lastModified(text []byte) int64 {
	_, rest, _ := bytes.Cut(text, []byte(`"last_modified":`))
	number, _ := strconv.ParseInt(string(bytes.TrimRight(rest, "}")), 10, 64)
	return number
}

// metric returns how often the service has read a hash.
func metric(host string) (float64, error) {
	reply, err := http.Get("http://" + host + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = reply.Body.Close() }()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), reads+" "); found {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s; is PREFLIGHT_METRICS_ENABLED set?", host, reads)
}
