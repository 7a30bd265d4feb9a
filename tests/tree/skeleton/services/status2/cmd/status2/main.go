// Command status2 forwards status messages of runs from Redis to websockets; its environment configures it.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rogerlew/wepppy/services/status2/internal/config"
	"github.com/rogerlew/wepppy/services/status2/internal/server"
)

func main() {
	settings, err := config.Load("STATUS", ":9002", 2, os.Getenv)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client := redis.NewClient(settings.Redis)
	if err := reach(ctx, client, settings); err != nil {
		log.Fatalf("redis at %s: %v", settings.Redis.Addr, err)
	}
	handler := server.New(settings, client)
	web := &http.Server{Addr: settings.ListenAddr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		handler.Stop()
		_ = web.Shutdown(context.Background())
	}()
	log.Printf("listening on %s, redis at %s/%d", settings.ListenAddr, settings.Redis.Addr, settings.Redis.DB)
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// reach pings Redis, again after 1, 2, 4, ... seconds; an answer that is an error (a wrong password) ends it at once.
func reach(ctx context.Context, client *redis.Client, settings *config.Config) error {
	wait := settings.RetryBase
	for attempt := 1; ; attempt++ {
		err := client.Ping(ctx).Err()
		var answer redis.Error
		if err == nil || errors.As(err, &answer) || settings.MaxRetries > 0 && attempt >= settings.MaxRetries {
			return err
		}
		log.Printf("redis at %s does not answer yet: %v", settings.Redis.Addr, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, settings.RetryMax)
	}
}
