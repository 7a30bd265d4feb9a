// Package live is what services with live messages share: from Redis to any number of websockets, through one
// subscription per channel, until SIGTERM.
package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// shutdownTimeout bounds how long clients may take to close; it must stay below the container's stop grace period.
const shutdownTimeout = 3 * time.Second

// Tools is what the part of a service that is its own may use.
type Tools struct {
	Redis    *redis.Client
	Settings Settings
	Log      *slog.Logger
}

// Definition is what makes one service different from the other.
type Definition struct {
	Name           string // also the prefix of its metrics
	Prefix         string // of its environment variables
	ListenAddress  string // host:port, host may be empty
	Database       int    // Redis database when no URL names one
	RequestTimeout time.Duration
	SentName       string                                 // metric of the data frames written
	Pattern        *regexp.Regexp                         // of whole names; a run's id, before a colon if there is one
	Invalid        string                                 // answer (400) to any other name
	Channel        func(database int, name string) string // Redis channel of a name
	Latest         bool                                   // only the newest message counts: others may be left out
	Metrics        []prometheus.Collector                 // of its own
	Serve          func(context.Context, Tools, *Topic)   // publishes what a topic's messages say until the context ends
}

// Main runs a service until SIGTERM or SIGINT and ends the process: with 0 after a shutdown, 1 when it cannot run.
func Main(definition Definition) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	logging.Disable() // every error is reported here already, and in one format
	err := Run(ctx, definition, os.Getenv, os.Stdout, nil)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Run runs a service until `ctx` ends. `listening`, when not nil, is called with the address once connections are accepted.
// The error is why it could not start or go on, nil after a shutdown.
func Run(ctx context.Context, definition Definition, lookup Lookup, output io.Writer, listening func(net.Addr)) error {
	values, err := LoadSettings(definition, lookup)
	if err != nil {
		return fmt.Errorf("%s: %w", definition.Name, err)
	}
	log := slog.New(slog.NewJSONHandler(output, &slog.HandlerOptions{Level: values.LogLevel})).With("service", definition.Name)
	tools := Tools{Redis: redis.NewClient(values.Redis), Settings: values, Log: log}
	defer func() { _ = tools.Redis.Close() }()
	if err := tools.awaitRedis(ctx); err != nil {
		return fmt.Errorf("%s: redis at %s: %w", definition.Name, values.Redis.Addr, err)
	}
	registry := prometheus.NewRegistry()
	metrics := prometheus.WrapRegistererWithPrefix(definition.Name+"_", registry)
	metrics.MustRegister(definition.Metrics...)
	hub := newHub(definition, tools, promauto.With(metrics))

	listener, err := net.Listen("tcp", values.ListenAddress)
	if err != nil {
		return fmt.Errorf("%s: %w", definition.Name, err)
	}
	handler := newServer(hub, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { hub.run(background) })
	defer running.Wait()
	defer cancel()

	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	log.Info("listening", "address", listener.Addr().String(), "redis", values.Redis.Addr, "database", values.Redis.DB)
	if listening != nil {
		listening(listener.Addr())
	}
	select {
	case err := <-failed:
		return fmt.Errorf("%s: %w", definition.Name, err)
	case <-ctx.Done():
	}
	log.Info("stopping", "clients", hub.clientCount())
	handler.stopped.Store(true)
	limit, release := context.WithTimeout(background, shutdownTimeout)
	defer release()
	hub.shutdown(limit)
	// Websockets are no longer the server's; this waits for plain requests only.
	if err := web.Shutdown(limit); err != nil {
		_ = web.Close()
	}
	log.Info("stopped")
	return nil
}

// awaitRedis pings until Redis answers. Only temporary errors are tried again; a wrong password is returned at once.
func (t Tools) awaitRedis(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := t.Redis.Ping(ctx).Err()
		if err == nil || ctx.Err() != nil {
			return explain(err)
		}
		if !isTemporary(err) || (t.Settings.MaxRetries > 0 && attempt >= t.Settings.MaxRetries) {
			return explain(err)
		}
		pause := t.Settings.RetryDelay(attempt)
		t.Log.Warn("redis does not answer yet", "attempt", attempt, "again_in", pause.String(), "error", explain(err))
		Sleep(ctx, pause)
	}
}

// isTemporary reports whether an error may go away by itself: no answer, or one of a server that is not ready yet.
func isTemporary(err error) bool {
	var answer redis.Error
	return !errors.As(err, &answer) || redis.HasErrorPrefix(err, "LOADING") ||
		redis.HasErrorPrefix(err, "MASTERDOWN") || redis.HasErrorPrefix(err, "TRYAGAIN")
}

// explain shortens the most frequent messages.
func explain(err error) error {
	if err != nil && errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}
