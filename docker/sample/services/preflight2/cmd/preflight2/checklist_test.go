package main

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
)

// times builds a hash from "task=seconds" pairs.
func times(pairs ...string) map[string]string {
	hash := map[string]string{}
	for _, pair := range pairs {
		task, value, _ := strings.Cut(pair, "=")
		hash["timestamps:"+task] = value
	}
	return hash
}

func answers(t *testing.T, hash map[string]string) map[string]bool {
	t.Helper()
	text, err := json.Marshal(evaluate(hash).Checklist)
	if err != nil {
		t.Fatal(err)
	}
	var result map[string]bool
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// Each rule with hashes that make it true and hashes that do not, one step away from the true ones.
var rules = map[string]struct{ done, open []map[string]string }{
	"sbs_map": {
		done: []map[string]string{{"attrs:has_sbs": "true"}},
		open: []map[string]string{{}, {"attrs:has_sbs": "false"}, {"attrs:has_sbs": "True"}, {"attrs:sbs_required": "true"}},
	},
	"channels": {
		done: []map[string]string{times("build_channels=5"), times("build_channels=")},
		open: []map[string]string{{}, times("find_outlet=5")},
	},
	"outlet": {
		done: []map[string]string{times("set_outlet=6", "build_channels=5"), times("find_outlet=6", "build_channels=5"), times("set_outlet=4", "find_outlet=6", "build_channels=5")},
		open: []map[string]string{times("set_outlet=5", "build_channels=5"), times("set_outlet=6"), times("set_outlet=4", "find_outlet=3", "build_channels=5")},
	},
	"subcatchments": {
		done: []map[string]string{times("abstract_watershed=6", "build_channels=5")},
		open: []map[string]string{times("abstract_watershed=5", "build_channels=5"), times("abstract_watershed=6"), times("build_subcatchments=6", "build_channels=5")},
	},
	"landuse": {
		done: []map[string]string{times("build_landuse=7", "abstract_watershed=6")},
		open: []map[string]string{times("build_landuse=6", "abstract_watershed=6"), times("build_landuse=7"), times("build_landuse=seven", "abstract_watershed=6")},
	},
	"rangeland_cover": {
		done: []map[string]string{times("build_rangeland_cover=1"), times("build_rangeland_cover=later")},
		open: []map[string]string{{}, times("build_rangeland_cover=")},
	},
	"soils": {
		done: []map[string]string{times("build_soils=9", "abstract_watershed=6", "build_landuse=8"), times("build_soils=9", "abstract_watershed=6", "build_rangeland_cover=8"), times("build_soils=9", "abstract_watershed=6", "build_landuse=10", "build_rangeland_cover=8")},
		open: []map[string]string{times("build_soils=9", "abstract_watershed=6"), times("build_soils=9", "build_landuse=8"), times("build_soils=9", "abstract_watershed=9", "build_landuse=8"), times("build_soils=9", "abstract_watershed=6", "build_landuse=9")},
	},
	"climate": {
		done: []map[string]string{times("build_climate=7", "abstract_watershed=6")},
		open: []map[string]string{times("build_climate=6", "abstract_watershed=6"), times("build_climate=7")},
	},
	"rap_ts": {
		done: []map[string]string{times("build_rap_ts=8", "build_climate=7")},
		open: []map[string]string{times("build_rap_ts=7", "build_climate=7"), times("build_rap_ts=8")},
	},
	"openet_ts": {
		done: []map[string]string{times("build_openet_ts=8", "build_climate=7")},
		open: []map[string]string{times("build_openet_ts=7", "build_climate=7"), times("build_openet_ts=8"), times("build_rap_ts=8", "build_climate=7")},
	},
	"rhem": {
		done: []map[string]string{times("run_rhem=1")},
		open: []map[string]string{{}, times("run_rhem=")},
	},
	"wepp": {
		done: []map[string]string{inputs("run_wepp_watershed=9"), inputs("run_wepp=9"), inputs("build_rusle=9")},
		open: []map[string]string{inputs(), inputs("run_wepp_watershed=8"), inputs("run_wepp_watershed=6", "run_wepp=9"), inputs("run_wepp=6", "build_rusle=9"), times("run_wepp=9", "build_landuse=5", "build_soils=6"), inputs("run_wepp_hillslopes=9")},
	},
	"omni_scenarios": {
		done: []map[string]string{times("run_omni_scenarios=9", "run_wepp=8"), times("run_omni_scenarios=1")},
		open: []map[string]string{{}, times("run_omni_scenarios=8", "run_wepp=8"), times("run_omni_scenarios=")},
	},
	"omni_contrasts": {
		done: []map[string]string{times("run_omni_contrasts=9", "run_omni_scenarios=8", "run_wepp=7"), times("run_omni_contrasts=9", "run_wepp_watershed=8"), times("run_omni_contrasts=1")},
		open: []map[string]string{{}, times("run_omni_contrasts=9", "run_omni_scenarios=9", "run_wepp=7"), times("run_omni_contrasts=9", "run_omni_scenarios=8", "run_wepp=7", "run_wepp_watershed=9"), times("run_omni_contrasts=")},
	},
	"roads": {
		done: []map[string]string{times("run_roads=9", "run_wepp_watershed=8")},
		open: []map[string]string{times("run_roads=9"), times("run_roads=8", "run_wepp_watershed=8"), times("run_roads=9", "build_rusle=8")},
	},
	"observed": afterModel("run_observed"),
	"debris":   afterModel("run_debris"),
	"watar":    afterModel("run_watar"),
	"rusle": {
		done: []map[string]string{times("build_rusle=9", "build_climate=7"), times("build_rusle=9", "build_climate=7", "run_wepp=8")},
		open: []map[string]string{times("build_rusle=9"), times("build_rusle=7", "build_climate=7"), times("build_rusle=9", "build_climate=7", "run_wepp=9")},
	},
	"dss_export": {
		done: []map[string]string{times("dss_export=9", "run_wepp=8"), times("dss_export=9", "run_watar=8"), times("dss_export=9", "run_watar=8", "run_wepp=7", "run_wepp_watershed=6")},
		open: []map[string]string{times("dss_export=9"), times("dss_export=9", "run_wepp=9"), times("dss_export=9", "run_wepp=8", "run_watar=9"), times("dss_export=9", "run_wepp=9", "run_wepp_watershed=8")},
	},
	"run_path_ce": {
		done: []map[string]string{times("run_path_ce=9", "run_wepp=8")},
		open: []map[string]string{times("run_path_ce=9"), times("run_path_ce=8", "run_wepp=8")},
	},
}

// inputs is a hash whose newest model input is of second 8.
func inputs(pairs ...string) map[string]string {
	hash := times("build_landuse=5", "build_soils=6", "build_climate=8")
	maps.Copy(hash, times(pairs...))
	return hash
}

func afterModel(task string) struct{ done, open []map[string]string } {
	return struct{ done, open []map[string]string }{
		done: []map[string]string{inputs(task+"=11", "run_wepp=10"), inputs(task+"=11", "run_wepp_watershed=10", "run_wepp=12")},
		open: []map[string]string{inputs(task + "=11"), inputs(task+"=10", "run_wepp=10"), inputs(task+"=8", "run_wepp=7"), times(task+"=11", "run_wepp=10"), inputs(task+"=11", "build_rusle=10")},
	}
}

func TestEveryRuleHoldsExactlyWhenItsStepsRanInOrder(t *testing.T) {
	if len(rules) != 21 {
		t.Fatalf("%d rules", len(rules))
	}
	for key, rule := range rules {
		t.Run(key, func(t *testing.T) {
			for _, hash := range rule.done {
				if !answers(t, hash)[key] {
					t.Errorf("open, should be done: %v", hash)
				}
			}
			for _, hash := range rule.open {
				if got, ok := answers(t, hash)[key]; got || !ok {
					t.Errorf("done, should be open: %v", hash)
				}
			}
		})
	}
}

func TestTheChecklistHasExactlyTheKeysOfTheRules(t *testing.T) {
	keys := answers(t, nil)
	for key, done := range keys {
		if _, known := rules[key]; !known || done {
			t.Errorf("%s: known %v, done %v for an empty hash", key, known, done)
		}
	}
	if len(keys) != len(rules) {
		t.Fatalf("%d keys", len(keys))
	}
}

func TestTheFrameOfAnEmptyHashIsComplete(t *testing.T) {
	text, err := json.Marshal(evaluate(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), `{"type":"preflight","checklist":{"sbs_map":false,`) || !strings.HasSuffix(string(text), `},"lock_statuses":{}}`) {
		t.Fatalf("got %s", text)
	}
}

func TestLocksAreReportedByName(t *testing.T) {
	got := evaluate(map[string]string{"locked:wepp.nodb": "true", "locked:soils.nodb": "false", "locked:": "true", "rq:build_soils": "true"}).LockStatuses
	if want := map[string]bool{"wepp.nodb": true, "soils.nodb": false}; !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v", got)
	}
}

func TestLastModifiedIsTheHashsOwnElseTheNewestTimestamp(t *testing.T) {
	cases := map[string]struct {
		hash map[string]string
		want int64
	}{
		"own":              {map[string]string{"last_modified": "7", "timestamps:run_wepp": "9"}, 7},
		"newest":           {times("build_soils=3", "run_wepp=9", "build_climate=soon"), 9},
		"own is no number": {map[string]string{"last_modified": "now", "timestamps:run_wepp": "9"}, 9},
		"before 1970":      {times("build_soils=-3"), -3},
	}
	for name, c := range cases {
		if got := evaluate(c.hash).LastModified; got == nil || *got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if got := evaluate(times("build_soils=soon")).LastModified; got != nil {
		t.Errorf("no time at all: got %v", *got)
	}
}

// parseHash makes a hash of lines "field=value", as a compact seed form for the fuzzer.
func parseHash(text string) map[string]string {
	hash := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		field, value, _ := strings.Cut(line, "=")
		hash[field] = value
	}
	return hash
}

func FuzzHash(f *testing.F) {
	f.Add("timestamps:build_channels=5\ntimestamps:set_outlet=6\nattrs:has_sbs=true")
	f.Add("timestamps:run_wepp=9223372036854775808\nlocked:a=true\nlocked:=true\nlast_modified=-1")
	f.Add("timestamps:=1\nlocked:\xff=true\n=")
	f.Fuzz(func(t *testing.T, text string) {
		hash := parseHash(text)
		state := evaluate(hash)
		encoded, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(encoded, &back); err != nil {
			t.Fatal(err)
		}
		if back.Checklist != state.Checklist || !reflect.DeepEqual(back.LastModified, state.LastModified) {
			t.Fatalf("changed on the way: %s", encoded)
		}
		// Fields that no rule knows must not change an answer.
		hash["rq:run_wepp"], hash["archive:job_id"], hash["attrs:loaded"] = "job", "job", "true"
		if again := evaluate(hash); again.Checklist != state.Checklist {
			t.Fatalf("foreign fields changed %+v into %+v", state.Checklist, again.Checklist)
		}
		// Locks never change an answer either.
		hash["locked:ron.nodb"] = "true"
		if again := evaluate(hash); again.Checklist != state.Checklist || !again.LockStatuses["ron.nodb"] {
			t.Fatal("a lock changed the checklist or is missing")
		}
	})
}
