package scratch

import (
	"context"
	"fmt"
)

// loadOptions are what the sessions of a load set for themselves. Nothing is lost by late commits: the swap that makes
// the database live is committed in step, and it stands behind all of them in the log. One helper for each index: more
// only take the processors from the other jobs, and none leaves them idle while the last index is built.
const loadOptions = "-c max_parallel_maintenance_workers=1 -c synchronous_commit=off -c statement_timeout=0 -c lock_timeout=0" +
	" -c idle_in_transaction_session_timeout=0 -c client_min_messages=warning"

// sortMegabytes are what all jobs of a load may sort in together, and one of them: the server's container has 2 GB.
const sortMegabytes, jobMegabytes = 768, 384

// options are loadOptions and what not every server has or allows. A limit that servers have from 17 on and that the moved
// database itself may set is taken off; an index that is being built ends when nobody waits for it any more, which servers
// can tell from 14 on, on Linux; complaints are in the language that they are understood in, where we may choose it.
func (d *Database) options(ctx context.Context) string {
	var limited, watchful, superuser bool
	err := d.lock.Session.QueryRow(ctx, `select current_setting('transaction_timeout', true) is not null,
		current_setting('client_connection_check_interval', true) is not null and version() like '%linux%',
		(select rolsuper from pg_roles where rolname = current_user)`).Scan(&limited, &watchful, &superuser)
	options := loadOptions
	if err == nil && limited {
		options += " -c transaction_timeout=0"
	}
	if err == nil && watchful {
		options += " -c client_connection_check_interval=1s"
	}
	if err == nil && superuser {
		options += " -c lc_messages=C"
	}
	return options
}

// quietTriggers keeps the loaded event triggers from firing for what is loaded after them (pg_restore refreshes
// materialised views last), which would write rows that no dump holds. Servers can do that from 17 on.
func (d *Database) quietTriggers(ctx context.Context) string {
	var able bool
	err := d.lock.Session.QueryRow(ctx, `select rolsuper and current_setting('event_triggers', true) is not null
		from pg_roles where rolname = current_user`).Scan(&able)
	if err != nil || !able {
		return ""
	}
	return " -c event_triggers=off"
}

// sorting is what each of so many jobs may sort in.
func sorting(jobs int) string {
	return fmt.Sprintf(" -c maintenance_work_mem=%dMB", max(min(jobMegabytes, sortMegabytes/jobs), 64))
}
