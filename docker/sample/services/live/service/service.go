// Package service runs a process from its start to SIGTERM: wait for Redis, serve, close the connections.
package service

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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"wepp.example/services/live/feed"
	"wepp.example/services/live/hub"
	"wepp.example/services/live/server"
	"wepp.example/services/live/settings"
)

// shutdownTimeout bounds how long clients may take to close; it must stay below the container's stop grace period.
const shutdownTimeout = 3 * time.Second

// Tools is what the part of a service that is its own may use.
type Tools struct {
	Redis    *redis.Client
	Settings settings.Settings
	Metrics  promauto.Factory // adds the service's prefix to a name
	Log      *slog.Logger
}

// Definition is what makes one service different from the other.
type Definition struct {
	Name     string // also the prefix of its metrics
	Prefix   string // of its environment variables
	Defaults settings.Defaults
	Route    func(options *redis.Options) server.Route
	SentName string // metric of the data frames written
	Handler  func(tools Tools) hub.Handler
}

// Runner is a Handler with background work: Run is called once and must return when ctx ends.
type Runner interface{ Run(ctx context.Context) }

// Main runs a service until SIGTERM or SIGINT and returns the exit code: 0 after a shutdown, 1 when it cannot run.
func Main(define func() Definition) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	redis.SetLogger(discard{}) // every error is reported here already, and in one format
	if err := Run(ctx, define(), os.Getenv, os.Stdout, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Run runs a service until `ctx` ends. `listening`, when not nil, is called with the address once connections are accepted.
// The error is why it could not start or go on, nil after a shutdown.
func Run(ctx context.Context, definition Definition, lookup settings.Lookup, output io.Writer, listening func(net.Addr)) error {
	values, err := settings.Load(definition.Prefix, lookup, definition.Defaults)
	if err != nil {
		return fmt.Errorf("%s: %w", definition.Name, err)
	}
	origins, err := server.ParseOrigins(values.AllowedOrigins)
	if err != nil {
		return fmt.Errorf("%s: %s_ALLOWED_ORIGINS: %w", definition.Name, definition.Prefix, err)
	}
	access, err := server.NewAccess(values.AccessURL)
	if err != nil {
		return fmt.Errorf("%s: %s_ACCESS_URL: %w", definition.Name, definition.Prefix, err)
	}
	log := slog.New(slog.NewJSONHandler(output, &slog.HandlerOptions{Level: values.LogLevel})).With("service", definition.Name)
	client := redis.NewClient(values.Redis)
	defer func() { _ = client.Close() }()
	if err := awaitRedis(ctx, client, values, log); err != nil {
		return fmt.Errorf("%s: redis at %s: %w", definition.Name, values.Redis.Addr, err)
	}

	registry := prometheus.NewRegistry()
	figures := promauto.With(prometheus.WrapRegistererWithPrefix(definition.Name+"_", registry))
	tools := Tools{Redis: client, Settings: values, Metrics: figures, Log: log}
	counts := hub.Counts{
		Sent:        figures.NewCounter(prometheus.CounterOpts{Name: definition.SentName, Help: "Data frames taken by clients."}),
		WriteErrors: figures.NewCounter(prometheus.CounterOpts{Name: "write_errors_total", Help: "Writes to a client that failed."}),
		SlowDropped: figures.NewCounter(prometheus.CounterOpts{Name: "slow_clients_dropped_total", Help: "Clients dropped because they did not keep up."}),
	}
	topics := definition.Handler(tools)
	clients := hub.New(topics, hub.Limits{
		PingInterval: values.PingInterval, PongTimeout: values.PongTimeout,
		WriteTimeout: values.WriteTimeout, MaxMessageSize: values.MaxMessageSize,
	}, counts, log)
	reconnects := figures.NewCounter(prometheus.CounterOpts{Name: "redis_reconnects_total", Help: "Subscription connections made anew after a loss."})
	retry := feed.Retry{Base: values.RetryBase, Max: values.RetryMax, Limit: values.MaxRetries}
	subscriptions := feed.New(client, clients, retry, reconnects, log)
	clients.Attach(subscriptions)
	figures.NewGaugeFunc(prometheus.GaugeOpts{Name: "connections_active", Help: "Clients connected now."}, func() float64 { return float64(clients.Clients()) })
	figures.NewGaugeFunc(prometheus.GaugeOpts{Name: "topics_active", Help: "Redis channels with at least one client."}, func() float64 { return float64(clients.Topics()) })

	health := server.NewHealth(func(ctx context.Context) error { return explain(client.Ping(ctx).Err()) }, values.RequestTimeout)
	figures.NewGaugeFunc(prometheus.GaugeOpts{Name: "redis_up", Help: "1 when Redis answers."}, func() float64 {
		if health.Problem() != nil {
			return 0
		}
		return 1
	})
	var scrape http.Handler
	if values.MetricsEnabled {
		scrape = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	}
	perAddress := server.NewPerAddress(values.MaxPerAddress, values.Proxies)
	handler := server.New(definition.Route(values.Redis), clients, origins, access, perAddress, health, scrape, values.RequestTimeout, log)

	listener, err := net.Listen("tcp", values.ListenAddress)
	if err != nil {
		return fmt.Errorf("%s: %w", definition.Name, err)
	}
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	start := func(run func(context.Context)) {
		running.Add(1)
		go func() {
			defer running.Done()
			run(background)
		}()
	}
	start(subscriptions.Run)
	if runner, ok := topics.(Runner); ok {
		start(runner.Run)
	}
	defer func() {
		cancel()
		running.Wait()
	}()

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
	log.Info("stopping", "clients", clients.Clients())
	health.Stop()
	limit, release := context.WithTimeout(background, shutdownTimeout)
	defer release()
	clients.Shutdown(limit)
	// Websockets are no longer the server's; this waits for plain requests only.
	if err := web.Shutdown(limit); err != nil {
		_ = web.Close()
	}
	log.Info("stopped")
	return nil
}

// awaitRedis pings until Redis answers. Only temporary errors are tried again; a wrong password is returned at once.
func awaitRedis(ctx context.Context, client *redis.Client, values settings.Settings, log *slog.Logger) error {
	retry := feed.Retry{Base: values.RetryBase, Max: values.RetryMax}
	for attempt := 1; ; attempt++ {
		err := client.Ping(ctx).Err()
		if err == nil || ctx.Err() != nil {
			return explain(err)
		}
		if !isTemporary(err) || (values.MaxRetries > 0 && attempt >= values.MaxRetries) {
			return explain(err)
		}
		pause := retry.Delay(attempt)
		log.Warn("redis does not answer yet", "attempt", attempt, "again_in", pause.String(), "error", explain(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// isTemporary reports whether an error may go away by itself: the network, or a server that is still loading its data.
func isTemporary(err error) bool {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return true
	}
	text := err.Error()
	return strings.HasPrefix(text, "LOADING") || strings.HasPrefix(text, "MASTERDOWN") || strings.HasPrefix(text, "TRYAGAIN")
}

// explain shortens the most frequent messages.
func explain(err error) error {
	if err != nil && errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

// discard drops the Redis library's own messages.
type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}
