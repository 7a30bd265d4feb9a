// Package checklist turns the hash of a run into the checklist of its page.
package checklist

import "strconv"

// Evaluate answers each step of a run from its hash: done when it ran after all that it builds on.
func Evaluate(hash map[string]string) map[string]bool {
	present := func(task string) bool { return hash["timestamps:"+task] != "" }
	at := func(task string) int64 {
		seconds, err := strconv.ParseInt(hash["timestamps:"+task], 10, 64)
		if err != nil {
			return 0
		}
		return seconds
	}
	after := func(moment int64, others ...int64) bool {
		for _, other := range others {
			if other == 0 || moment <= other {
				return false
			}
		}
		return true
	}
	channels, watershed := at("build_channels"), at("abstract_watershed")
	landuse, soils, climate := at("build_landuse"), at("build_soils"), at("build_climate")
	wepp := at("run_wepp_watershed")
	if wepp == 0 {
		wepp = at("run_wepp")
	}
	model := wepp
	if model == 0 {
		model = at("build_rusle")
	}
	// afterWepp: later than the last model run, or there at all when none ran.
	afterWepp := func(task string, others ...int64) bool {
		latest := wepp
		for _, other := range others {
			latest = max(latest, other)
		}
		return latest == 0 && present(task) || after(at(task), latest)
	}
	output := func(task string) bool { return after(at(task), landuse, soils, climate, wepp) }
	return map[string]bool{
		"sbs_map":         hash["attrs:has_sbs"] == "true",
		"channels":        present("build_channels"),
		"outlet":          after(max(at("set_outlet"), at("find_outlet")), channels),
		"subcatchments":   after(watershed, channels),
		"landuse":         after(landuse, watershed),
		"rangeland_cover": present("build_rangeland_cover"),
		"soils":           after(soils, watershed) && (after(soils, landuse) || after(soils, at("build_rangeland_cover"))),
		"climate":         after(climate, watershed),
		"rap_ts":          after(at("build_rap_ts"), climate),
		"openet_ts":       after(at("build_openet_ts"), climate),
		"rhem":            present("run_rhem"),
		"wepp":            after(model, landuse, soils, climate),
		"omni_scenarios":  afterWepp("run_omni_scenarios"),
		"omni_contrasts":  afterWepp("run_omni_contrasts", at("run_omni_scenarios")),
		"roads":           after(at("run_roads"), wepp),
		"observed":        output("run_observed"),
		"debris":          output("run_debris"),
		"watar":           output("run_watar"),
		"rusle":           after(at("build_rusle"), climate) && (wepp == 0 || after(at("build_rusle"), wepp)),
		"dss_export":      after(at("dss_export"), max(at("run_watar"), wepp)),
		"run_path_ce":     after(at("run_path_ce"), wepp),
	}
}
