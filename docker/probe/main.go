// Command probe asks a URL whether its service is well, for the health checks of images that hold no shell.
//
//	probe [-timeout 3s] [-body TEXT] URL
//
// It exits with 0 when the answer is 200 and, if -body is given, the body without surrounding white space is TEXT.
// Else it prints one line with the status and the beginning of the body and exits with 1; with 2 on wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"
)

const (
	shownBytes = 200     // of a body that is not what it should be
	bodyLimit  = 1 << 20 // bytes read at most; the body of a health check is short
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(arguments []string, output io.Writer) int {
	flags := flag.NewFlagSet("probe", flag.ContinueOnError)
	flags.SetOutput(output)
	timeout := flags.Duration("timeout", 3*time.Second, "limit of the whole request")
	body := flags.String("body", "", "text that the body must be")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(output, "usage: probe [-timeout 3s] [-body TEXT] URL")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); err != nil {
		return 2
	}
	wanted := false
	flags.Visit(func(given *flag.Flag) { wanted = wanted || given.Name == "body" })
	address, err := url.Parse(flags.Arg(0))
	if flags.NArg() != 1 || err != nil || address.Host == "" || (address.Scheme != "http" && address.Scheme != "https") {
		flags.Usage()
		return 2
	}
	if err := check(address.String(), *timeout, wanted, *body); err != nil {
		_, _ = fmt.Fprintln(output, oneLine(err.Error()))
		return 1
	}
	return 0
}

// check returns nil for a healthy answer, else an error that tells what came instead.
func check(address string, timeout time.Duration, wanted bool, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "probe")
	client := &http.Client{
		// A health check talks to its own container; a proxy of the environment would answer in its place.
		Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true},
		// A redirect says nothing about the service behind it, so it is an answer like any other that is not 200.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	reply, err := client.Do(request)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no answer within %s", timeout)
		}
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(reply.Body, bodyLimit))
	if err != nil {
		return fmt.Errorf("%s, but the body broke off: %w", reply.Status, err)
	}
	found := strings.TrimSpace(string(content))
	if reply.StatusCode != http.StatusOK || (wanted && found != strings.TrimSpace(text)) {
		return fmt.Errorf("%s: %s", reply.Status, found[:min(len(found), shownBytes)])
	}
	return nil
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
