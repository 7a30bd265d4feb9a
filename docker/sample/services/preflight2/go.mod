module wepp.example/services/preflight2

go 1.24

require (
	github.com/gorilla/websocket v1.5.3
	github.com/redis/go-redis/v9 v9.22.0
	wepp.example/services/live v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
)

// What both services share lives beside them; the build context holds the whole tree.
replace wepp.example/services/live => ../live
