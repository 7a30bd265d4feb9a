// Package texttest owns the check of what people are told, for the tests of this program.
package texttest

import (
	"strings"
	"testing"
)

// Holds fails the test for each of the words that the text lacks.
func Holds(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q lacks %q", text, word)
		}
	}
}
