// Command preflight2 shows the checklists of runs over websockets. It is configured by its environment.
package main

import (
	"os"

	"wepp.example/services/live/service"
	"wepp.example/services/preflight2/internal/preflight"
)

func main() { os.Exit(service.Main(preflight.Definition)) }
