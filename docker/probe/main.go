// Command probe asks a URL whether its service is well, for the health checks of images that hold no shell.
//
//	probe URL
//
// It exits with 0 when the answer is 200. Else it prints one line with the status and the beginning of the body and
// exits with 1; with 2 on wrong usage.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"
)

const shownBytes = 200 // of a body that explains what is wrong

func main() { os.Exit(run(os.Args[1:], os.Stdout, 3*time.Second)) }

func run(arguments []string, output io.Writer, timeout time.Duration) int {
	if len(arguments) != 1 {
		_, _ = fmt.Fprintln(output, "usage: probe URL")
		return 2
	}
	if err := check(arguments[0], timeout); err != nil {
		_, _ = fmt.Fprintln(output, oneLine(err.Error()))
		return 1
	}
	return 0
}

// check returns nil for a healthy answer, else an error that tells what came instead.
func check(address string, timeout time.Duration) error {
	client := &http.Client{
		Timeout: timeout,
		// A health check talks to its own container; a proxy of the environment would answer in its place.
		Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true},
		// A redirect says nothing about the service behind it, so it is an answer like any other that is not 200.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	reply, err := client.Get(address)
	if os.IsTimeout(err) {
		return fmt.Errorf("no answer within %s", timeout)
	}
	if err != nil {
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(reply.Body, shownBytes))
	return fmt.Errorf("%s: %s", reply.Status, strings.TrimSpace(string(body)))
}

// oneLine replaces line ends and control characters, since health output is shown in tables.
func oneLine(text string) string {
	return strings.ToValidUTF8(strings.Map(func(letter rune) rune {
		if unicode.IsControl(letter) {
			return ' '
		}
		return letter
	}, text), "")
}
