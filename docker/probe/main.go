// Command probe asks a web service whether it is well: exit status 0 for an answer of 200 (and the expected
// body, if one is given), else 1 with one line saying what came instead. A redirect is not health.
//
//	probe [-timeout 3s] [-body TEXT] URL
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Longest part of an answer that is read and shown.
const maxBody = 4096
const maxShown = 200

func main() {
	timeout := flag.Duration("timeout", 3*time.Second, "give up after this long")
	body := flag.String("body", "", "expected answer, white space around it ignored; empty: any")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: probe [-timeout 3s] [-body TEXT] URL")
		os.Exit(64)
	}
	if err := ask(flag.Arg(0), *body, *timeout); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// ask returns nil when url answers 200 and, unless expected is empty, with that body.
func ask(url, expected string, timeout time.Duration) error {
	client := http.Client{
		Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return err
	}
	answer := strings.TrimSpace(string(content))
	if response.StatusCode != http.StatusOK || (expected != "" && answer != expected) {
		shown := strings.Join(strings.Fields(answer), " ")
		if len(shown) > maxShown {
			shown = shown[:maxShown]
		}
		return fmt.Errorf("%s: %s", response.Status, shown)
	}
	return nil
}
