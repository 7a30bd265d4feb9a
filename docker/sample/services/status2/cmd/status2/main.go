// Command status2 relays status messages of runs from Redis to websockets. It is configured by its environment.
package main

import (
	"os"

	"wepp.example/services/live/service"
	"wepp.example/services/status2/internal/status"
)

func main() { os.Exit(service.Main(status.Definition)) }
