package main

import (
	"strconv"
	"strings"
)

// Checklist holds one answer per step of a run. The order of the fields is the order in the frame.
type Checklist struct {
	SBSMap         bool `json:"sbs_map"`
	Channels       bool `json:"channels"`
	Outlet         bool `json:"outlet"`
	Subcatchments  bool `json:"subcatchments"`
	Landuse        bool `json:"landuse"`
	RangelandCover bool `json:"rangeland_cover"`
	Soils          bool `json:"soils"`
	Climate        bool `json:"climate"`
	RAPTimeSeries  bool `json:"rap_ts"`
	OpenETSeries   bool `json:"openet_ts"`
	Rhem           bool `json:"rhem"`
	Wepp           bool `json:"wepp"`
	OmniScenarios  bool `json:"omni_scenarios"`
	OmniContrasts  bool `json:"omni_contrasts"`
	Roads          bool `json:"roads"`
	Observed       bool `json:"observed"`
	Debris         bool `json:"debris"`
	Watar          bool `json:"watar"`
	Rusle          bool `json:"rusle"`
	DSSExport      bool `json:"dss_export"`
	RunPathCE      bool `json:"run_path_ce"`
}

// State is the frame about a run.
type State struct {
	Type         string          `json:"type"`
	Checklist    Checklist       `json:"checklist"`
	LockStatuses map[string]bool `json:"lock_statuses"`
	LastModified *int64          `json:"last_modified,omitempty"` // Unix seconds
}

const (
	timestampPrefix = "timestamps:"
	lockPrefix      = "locked:"
)

// evaluate reads the hash of a run (field to value; empty for a run that is gone). It never fails: a value that is
// not a whole number counts as no time at all.
func evaluate(hash map[string]string) State {
	return State{
		Type:         "preflight",
		Checklist:    evaluateSteps(hash),
		LockStatuses: locks(hash),
		LastModified: lastModified(hash),
	}
}

// evaluateSteps applies the rules: a step is done when it ran after everything that it builds on.
func evaluateSteps(hash map[string]string) Checklist {
	at := func(task string) moment { return read(hash, task) }
	watershed := at("abstract_watershed")
	landuse, rangeland, soils, climate := at("build_landuse"), at("build_rangeland_cover"), at("build_soils"), at("build_climate")
	scenarios, rusle, watar := at("run_omni_scenarios"), at("build_rusle"), at("run_watar")
	wepp := at("run_wepp_watershed").or(at("run_wepp"))
	anyWepp := latest(at("run_wepp_watershed"), at("run_wepp"))

	model := wepp.or(rusle) // either model's run completes the step
	inputs := func(m moment) bool { return m.after(landuse) && m.after(soils) && m.after(climate) }
	_, hasChannels := hash[timestampPrefix+"build_channels"]
	lastContrastInput := latest(scenarios, anyWepp)
	return Checklist{
		SBSMap:         hash["attrs:has_sbs"] == "true",
		Channels:       hasChannels,
		Outlet:         latest(at("set_outlet"), at("find_outlet")).after(at("build_channels")),
		Subcatchments:  watershed.after(at("build_channels")),
		Landuse:        landuse.after(watershed),
		RangelandCover: rangeland.present,
		Soils:          soils.after(watershed) && (soils.after(landuse) || soils.after(rangeland)),
		Climate:        climate.after(watershed),
		RAPTimeSeries:  at("build_rap_ts").after(climate),
		OpenETSeries:   at("build_openet_ts").after(climate),
		Rhem:           at("run_rhem").present,
		Wepp:           inputs(model),
		OmniScenarios:  scenarios.afterIfAny(wepp),
		OmniContrasts:  at("run_omni_contrasts").afterIfAny(lastContrastInput),
		Roads:          at("run_roads").after(wepp),
		Observed:       inputs(at("run_observed")) && at("run_observed").after(wepp),
		Debris:         inputs(at("run_debris")) && at("run_debris").after(wepp),
		Watar:          inputs(watar) && watar.after(wepp),
		Rusle:          rusle.after(climate) && (!wepp.present || rusle.after(wepp)),
		DSSExport:      at("dss_export").after(latest(watar, anyWepp)),
		RunPathCE:      at("run_path_ce").after(wepp),
	}
}

// moment is when a task ended, as far as the hash says.
type moment struct {
	present bool // the field exists and is not blank
	valid   bool // it is a whole number
	seconds int64
}

func read(hash map[string]string, task string) moment {
	text := hash[timestampPrefix+task]
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return moment{present: text != ""}
	}
	return moment{present: true, valid: true, seconds: seconds}
}

// after reports whether both are known and m is strictly later.
func (m moment) after(other moment) bool { return m.valid && other.valid && m.seconds > other.seconds }

// afterIfAny is after, or mere presence when there is nothing to be later than.
func (m moment) afterIfAny(other moment) bool {
	if !other.present {
		return m.present
	}
	return m.after(other)
}

// or returns m, or `other` when m is absent.
func (m moment) or(other moment) moment {
	if m.present {
		return m
	}
	return other
}

// latest returns the newest of the moments that are known, else an absent one.
func latest(moments ...moment) moment {
	var newest moment
	for _, candidate := range moments {
		if candidate.valid && (!newest.valid || candidate.seconds > newest.seconds) {
			newest = candidate
		}
	}
	return newest
}

// locks returns the state of every file that was ever locked; never nil, so that the frame holds {}.
func locks(hash map[string]string) map[string]bool {
	statuses := map[string]bool{}
	for field, value := range hash {
		if name, ok := strings.CutPrefix(field, lockPrefix); ok && name != "" {
			statuses[name] = value == "true"
		}
	}
	return statuses
}

// lastModified is the hash's own field, else its newest timestamp, else nil.
func lastModified(hash map[string]string) *int64 {
	if seconds, err := strconv.ParseInt(hash["last_modified"], 10, 64); err == nil {
		return &seconds
	}
	var newest moment
	for field := range hash {
		if task, ok := strings.CutPrefix(field, timestampPrefix); ok {
			newest = latest(newest, read(hash, task))
		}
	}
	if !newest.valid {
		return nil
	}
	return &newest.seconds
}
