package load

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Process is what a running server costs, from proc(5).
type Process struct {
	id      int
	started time.Time
	cpu     float64
}

// Watch starts to measure the process with this id.
func Watch(id int) (Process, error) {
	cpu, err := cpuSeconds(id)
	return Process{id: id, started: time.Now(), cpu: cpu}, err
}

// Cost returns the cores in use since Watch, and the highest resident memory ever in MB (10^6 bytes).
func (p Process) Cost() (cores, megabytes float64, err error) {
	cpu, err := cpuSeconds(p.id)
	if err != nil {
		return 0, 0, err
	}
	cores = (cpu - p.cpu) / time.Since(p.started).Seconds()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.id))
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(content), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kibibytes, err := strconv.ParseFloat(fields[1], 64)
			return cores, kibibytes * 1024 / 1e6, err
		}
	}
	return 0, 0, fmt.Errorf("process %d does not tell its memory", p.id)
}

// cpuSeconds is user plus system time: fields 14 and 15 of /proc/PID/stat, 100 ticks a second.
func cpuSeconds(id int) (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100, err
}
