package vault

import (
	"time"
)

// Expired are the dumps that may go: those with a name of ours or of the operators' page that are older than keep, never
// the newest verified one, and none at all while there is no verified one. In the order of entries.
//
// Age is counted from the moment in a manifest or name, and for dumps by hand from their file's time.
func Expired(entries []Entry, now time.Time, keep time.Duration) []Entry {
	newest, found := Newest(entries, now)
	if !found {
		return nil
	}
	var expired []Entry
	for _, each := range entries {
		if (each.Ours || each.Manual) && each.Name != newest.Name && now.Sub(each.Created) > keep {
			expired = append(expired, each)
		}
	}
	return expired
}

// Prune removes the expired dumps with their companions and returns their names. A dump that is being read (Hold) stays
// until the next time.
func (v Vault) Prune(now time.Time, keep time.Duration) ([]string, error) {
	entries, err := v.List()
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, each := range Expired(entries, now, keep) {
		release, free := tryLock(each.Path)
		if !free {
			continue
		}
		err := v.Remove(each.Name)
		release()
		if err != nil {
			return removed, err
		}
		removed = append(removed, each.Name)
	}
	return removed, nil
}
