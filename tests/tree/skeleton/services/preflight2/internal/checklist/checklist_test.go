package checklist

import (
	"maps"
	"slices"
	"testing"
)

func TestAStepIsDoneWhenItRanAfterAllThatItBuildsOn(t *testing.T) {
	hash := map[string]string{
		"timestamps:build_channels": "100", "timestamps:set_outlet": "110", "timestamps:abstract_watershed": "120",
		"timestamps:build_landuse": "130", "timestamps:build_soils": "140", "timestamps:build_climate": "150",
		"timestamps:run_wepp_watershed": "160", "timestamps:run_roads": "170",
	}
	expect(t, hash, "channels", "climate", "landuse", "outlet", "roads", "soils", "subcatchments", "wepp")
	hash["timestamps:build_climate"] = "165"
	expect(t, hash, "channels", "climate", "landuse", "outlet", "roads", "soils", "subcatchments")
	hash["timestamps:run_wepp_watershed"] = "soon"
	expect(t, hash, "channels", "climate", "landuse", "outlet", "soils", "subcatchments")
}

func TestAnEmptyHashHasAllTwentyOneStepsAndNoneIsDone(t *testing.T) {
	expect(t, nil)
	if count := len(Evaluate(nil)); count != 21 {
		t.Error(count)
	}
}

func expect(t *testing.T, hash map[string]string, done ...string) {
	t.Helper()
	found := Evaluate(hash)
	maps.DeleteFunc(found, func(_ string, is bool) bool { return !is })
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, done) {
		t.Errorf("done: %v, expected: %v", got, done)
	}
}
