module wepp.example/services/live

go 1.24

require (
	// Handshake and reading; chosen because it hands out its connection, so that a frame is encoded once for all.
	github.com/gorilla/websocket v1.5.3
	// The newest release that Go 1.24 can build.
	github.com/redis/go-redis/v9 v9.22.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
)
