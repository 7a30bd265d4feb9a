// Command status2-load measures the status service: many websockets on one channel, messages through Redis, and how
// many frames arrive how late. The server's CPU time and memory are read from /proc when its process id is given.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

func main() {
	address := flag.String("url", "ws://127.0.0.1:9002", "the service, without a path")
	store := flag.String("redis", "redis://127.0.0.1:6379/2", "where to publish")
	channel := flag.String("channel", "load:wepp", "run id and channel")
	clients := flag.Int("clients", 1000, "websockets")
	rate := flag.Int("rate", 20, "messages per second")
	duration := flag.Duration("duration", 20*time.Second, "how long to publish")
	process := flag.Int("pid", 0, "process id of the server")
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
	conns := make([]*websocket.Conn, clients)
	delays := make([][]time.Duration, clients)
	var readers sync.WaitGroup
	for index := range conns {
		if conns[index], _, err = websocket.DefaultDialer.Dial(address, nil); err != nil {
			return fmt.Errorf("client %d: %w", index, err)
		}
		readers.Add(1)
		go func() {
			defer readers.Done()
			delays[index] = listen(conns[index], total)
		}()
	}
	cpuBefore := cpuSeconds(process)
	started := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range total {
		<-tick.C
		if err := publisher.Publish(context.Background(), channel, strconv.FormatInt(time.Now().UnixNano(), 10)).Err(); err != nil {
			return err
		}
	}
	elapsed := time.Since(started).Seconds()
	core := (cpuSeconds(process) - cpuBefore) / elapsed
	memory := memoryLine(process)
	for _, conn := range conns { // what is still under way counts as long as it comes within a second
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	}
	readers.Wait()
	all := slices.Concat(delays...)
	slices.Sort(all)
	if len(all) == 0 {
		return fmt.Errorf("no frame arrived")
	}
	at := func(part float64) time.Duration { return all[int(part*float64(len(all)-1))] }
	fmt.Printf("%d clients, %d messages/s for %.1f s: %d frames, lost %d, p50 %v, p99 %v, max %v\n", clients, rate, elapsed,
		len(all), total*clients-len(all), at(0.5).Round(10*time.Microsecond), at(0.99).Round(10*time.Microsecond), at(1).Round(10*time.Microsecond))
	if process > 0 {
		fmt.Printf("server: %.3f core, %s\n", core, memory)
	}
	return nil
}

// listen answers pings and notes the delay of every status frame until the connection's time is up. It reads into one
// buffer and without a JSON parser: on a small machine a dear client would be measured in place of the server.
func listen(conn *websocket.Conn, expected int) []time.Duration {
	defer func() { _ = conn.Close() }()
	delays := make([]time.Duration, 0, expected)
	buffer := make([]byte, 128)
	for {
		_, reader, err := conn.NextReader()
		if err != nil {
			return delays
		}
		now := time.Now().UnixNano()
		size, err := io.ReadFull(reader, buffer)
		if err != io.ErrUnexpectedEOF {
			return delays // every frame of a measurement is short
		}
		text := string(buffer[:size])
		if text == `{"type":"ping"}` {
			_ = conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"pong"}`))
			continue
		}
		number, _ := strings.CutPrefix(text, `{"type":"status","data":"`)
		if sent, err := strconv.ParseInt(strings.TrimSuffix(number, `"}`), 10, 64); err == nil {
			delays = append(delays, time.Duration(now-sent))
		}
	}
}

// cpuSeconds is user plus system time of a process: fields 14 and 15 of /proc/PID/stat, 100 ticks a second.
func cpuSeconds(process int) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// memoryLine is the resident memory, now and at its highest.
func memoryLine(process int) string {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	var found []string
	for _, line := range strings.Split(string(content), "\n") {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "VmHWM:") {
			found = append(found, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(found, ", ")
}
