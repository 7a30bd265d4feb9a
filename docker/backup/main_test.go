package main

import (
	"bytes"
	"strings"
	"testing"

	"wepp.example/backup/internal/event"
)

func TestAnUnknownCommandIsAUsageErrorThatIsReportedAsOneJSONLine(t *testing.T) {
	var output bytes.Buffer
	status := run([]string{"--json", "frobnicate"}, strings.NewReader(""), &output)
	if status != event.ExitUsage || strings.Count(output.String(), "\n") != 1 || !strings.Contains(output.String(), `"kind":"problem"`) {
		t.Fatalf("status %d, output %q", status, output.String())
	}
}
