package feed

import (
	"testing"
	"time"
)

func TestThePauseDoublesUpToItsLimit(t *testing.T) {
	retry := Retry{Base: time.Second, Max: 5 * time.Second}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 5 * time.Second, 1 << 30: 5 * time.Second} {
		if got := retry.Delay(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}

func TestAnAnswerToAnOlderSubscriptionDoesNotCount(t *testing.T) {
	f := New(nil, nil, Retry{}, nil, nil)
	f.channels["c"] = &subscription{wanted: true, sent: true, pending: 2} // SUBSCRIBE, UNSUBSCRIBE, SUBSCRIBE are under way
	if f.confirm("c") {
		t.Fatal("the first answer was taken for the second")
	}
	if !f.confirm("c") || !f.Add("c") {
		t.Fatal("the second answer did not count")
	}
}

func TestAChannelThatIsStillSubscribedIsReadyAtOnce(t *testing.T) {
	f := New(nil, nil, Retry{}, nil, nil)
	if f.Add("c") {
		t.Fatal("ready without a subscription")
	}
	f.channels["c"].sent, f.channels["c"].pending = true, 1
	f.confirm("c")
	f.Remove("c")
	if !f.Add("c") {
		t.Fatal("not ready though it was not unsubscribed")
	}
}

func TestAfterALossOnlyWantedChannelsRemainAndNoneIsSubscribed(t *testing.T) {
	f := New(nil, nil, Retry{}, nil, nil)
	f.channels["wanted"] = &subscription{wanted: true, sent: true, confirmed: true}
	f.channels["unwanted"] = &subscription{sent: true, confirmed: true}
	f.reset()
	if len(f.channels) != 1 || *f.channels["wanted"] != (subscription{wanted: true}) {
		t.Fatalf("got %v", f.channels)
	}
}
