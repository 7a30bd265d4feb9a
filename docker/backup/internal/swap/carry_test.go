package swap

import (
	"slices"
	"testing"
)

func TestAStoredListOfNamesIsTakenApartAsPostgresPutItTogether(t *testing.T) {
	for text, wanted := range map[string][]string{
		`"$user", public`:         {"$user", "public"},
		`public`:                  {"public"},
		`"odd ""name"", really"`:  {`odd "name", really`},
		`"", public`:              {"", "public"},
		``:                        nil,
		`app, "Mixed Case", pg_x`: {"app", "Mixed Case", "pg_x"},
	} {
		if got := splitList(text); !slices.Equal(got, wanted) {
			t.Errorf("%s: wanted %q, got %q", text, wanted, got)
		}
	}
}

func TestSettingsAreWrittenSoThatTheyMeanTheSame(t *testing.T) {
	for _, each := range []struct{ name, text, wanted string }{
		{"search_path", `"$user", public`, `'$user', 'public'`},
		{"search_path", ``, `''`},
		{"work_mem", "64MB", `'64MB'`},
		{"app.motto", `it's a \ slash`, ` E'it''s a \\ slash'`},
	} {
		if got := value(each.name, each.text); got != each.wanted {
			t.Errorf("%s: wanted %s, got %s", each.name, each.wanted, got)
		}
	}
	if got := setting(`app.we"ird`); got != `"app"."we""ird"` {
		t.Errorf("got %s", got)
	}
}

func TestOnlyDatabasesThatASwapKeptHaveAKeptName(t *testing.T) {
	for name, wanted := range map[string]bool{
		"wepppy_before_20261124_101112": true, "wepppy": false, "wepppy_before_never": false,
		"wepppy_before_20261124_101112_copy": false, "_before_20261124_101112": false,
	} {
		if got := keptName.MatchString(name); got != wanted {
			t.Errorf("%s: %t", name, got)
		}
	}
}
