package source

import "testing"

func TestOnlyAnUnmovedTransactionNumberProvesThatNothingWasWritten(t *testing.T) {
	for name, each := range map[string]struct {
		before, later Mark
		untouched     bool
	}{
		"nobody wrote":                        {Mark{next: 9}, Mark{next: 9}, true},
		"somebody wrote":                      {Mark{next: 9}, Mark{next: 10}, false},
		"somebody was at it before, and done": {Mark{next: 9, writing: true}, Mark{next: 9}, false},
		"the statistics come late":            {Mark{next: 9, changes: 3}, Mark{next: 9, changes: 5}, true},
	} {
		if got := each.before.Untouched(each.later); got != each.untouched {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
