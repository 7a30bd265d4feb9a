package source

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Role is somebody whom something in the source belongs to or is granted to, with what makes a role but its password,
// which only the source's administrator could read.
type Role struct {
	Name        string
	Superuser   bool
	Inherit     bool
	CreateRole  bool
	CreateDB    bool
	Login       bool
	Replication bool
	BypassRLS   bool
	Limit       int32
	MemberOf    []string
}

// owned are the objects of each catalogue with their owners; what an extension brought along is not dumped.
const owned = `(
	select 'pg_class'::regclass as class, oid, relowner as owner from pg_class
	union all select 'pg_proc'::regclass, oid, proowner from pg_proc
	union all select 'pg_type'::regclass, oid, typowner from pg_type
	union all select 'pg_namespace'::regclass, oid, nspowner from pg_namespace
	union all select 'pg_operator'::regclass, oid, oprowner from pg_operator
	union all select 'pg_opclass'::regclass, oid, opcowner from pg_opclass
	union all select 'pg_opfamily'::regclass, oid, opfowner from pg_opfamily
	union all select 'pg_collation'::regclass, oid, collowner from pg_collation
	union all select 'pg_conversion'::regclass, oid, conowner from pg_conversion
	union all select 'pg_language'::regclass, oid, lanowner from pg_language
	union all select 'pg_ts_config'::regclass, oid, cfgowner from pg_ts_config
	union all select 'pg_ts_dict'::regclass, oid, dictowner from pg_ts_dict
	union all select 'pg_statistic_ext'::regclass, oid, stxowner from pg_statistic_ext
	union all select 'pg_event_trigger'::regclass, oid, evtowner from pg_event_trigger
	union all select 'pg_publication'::regclass, oid, pubowner from pg_publication
	union all select 'pg_foreign_data_wrapper'::regclass, oid, fdwowner from pg_foreign_data_wrapper
	union all select 'pg_foreign_server'::regclass, oid, srvowner from pg_foreign_server
	union all select 'pg_largeobject'::regclass, oid, lomowner from pg_largeobject_metadata)`

// needed are the roles that the database refers to. pg_shdepend names all but the first superuser (10, by whatever
// name), which the server never forgets and so never notes there. Before 15 the schema public was that one's.
const needed = `
	select refobjid as oid from pg_shdepend where refclassid = 'pg_authid'::regclass
		and dbid = (select oid from pg_database where datname = current_database())
	union select 10::oid where exists (select from ` + owned + ` o where o.owner = 10
			and (o.oid >= 16384 or o.class = 'pg_namespace'::regclass and o.oid = 2200)
			and not exists (select from pg_depend d where d.classid = o.class and d.objid = o.oid and d.deptype = 'e'))
		or exists (select from (select relacl as acl from pg_class where oid >= 16384 union all select nspacl from pg_namespace where oid >= 16384 or oid = 2200
			union all select proacl from pg_proc where oid >= 16384 union all select defaclacl from pg_default_acl) x, aclexplode(x.acl) a
			where a.grantee = 10 or a.grantor = 10)`

func (s *Source) roles(ctx context.Context) ([]Role, error) {
	rows, err := s.Session.Query(ctx, `with needed as (`+needed+`)
		select r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
			r.rolbypassrls, r.rolconnlimit,
			array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid order by 1)
		from pg_roles r join needed using (oid) where r.rolname !~ '^pg_' order by 1`)
	if err != nil {
		return nil, fmt.Errorf("looking at the source's roles: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Role])
}
