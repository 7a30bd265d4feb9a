package census

import (
	"slices"
	"testing"
)

func TestDifferencesAreTold(t *testing.T) {
	want := Counts{Tables: map[string]int64{"public.a": 1, "public.b": 2, "public.c": 3}, Views: map[string]int64{"public.v": 9}, LargeObjects: 1}
	there := Counts{Tables: map[string]int64{"public.a": 1, "public.b": 1, "public.d": 0}, Views: map[string]int64{"public.v": 10}}
	found := want.Differences(there)
	if !slices.Equal(found, []string{
		"public.b has 1 rows instead of 2", "public.c is missing (3 rows)", "public.d is too much (0 rows)",
		"there are 0 large objects instead of 1",
	}) {
		t.Fatalf("%q", found)
	}
	if same := want.Differences(want); same != nil {
		t.Fatalf("%q", same)
	}
}

func TestDifferencesOfContentsAreToldWhereTheRowsAreAsMany(t *testing.T) {
	want := Hashes{
		Tables: map[string]TableHash{"public.a": {1, "7"}, "public.b": {2, "8"}}, Sequences: map[string]string{"public.s": "4, true", "public.t": "1, false"},
		LargeObjects: "aa", Count: 1,
	}
	there := Hashes{
		Tables: map[string]TableHash{"public.a": {1, "9"}, "public.b": {3, "0"}}, Sequences: map[string]string{"public.s": "4, false", "public.u": "1, false"},
		LargeObjects: "bb", Count: 1,
	}
	if found := want.Differences(there); !slices.Equal(found, []string{
		"public.b has 3 rows instead of 2", "public.a has other contents in its 1 rows",
		"the sequence public.s stands at 4, false instead of 4, true", "the sequence public.t is missing", "the sequence public.u is too much",
		"the 1 large objects have other contents",
	}) {
		t.Fatalf("%q", found)
	}
}

func TestNoTwoTablesHaveTheSameName(t *testing.T) {
	first, second := relation{schema: "a.b", table: "c"}, relation{schema: "a", table: "b.c"}
	if first.name() == second.name() || (relation{schema: "public", table: "user"}).name() != "public.user" {
		t.Fatal(first.name(), second.name())
	}
}
