"""What belongs to a database but stands outside it: a dump does not carry it, and a rename leaves it behind."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from wepp_backup import markers
from wepp_backup.server import Session, column, literal, quote, rows

PROPERTIES = """
SELECT pg_get_userbyid(datdba)::text, datconnlimit, datacl IS NOT NULL, shobj_description(oid, 'pg_database')
FROM pg_database WHERE datname = %s"""
SETTINGS = """
SELECT coalesce(r.rolname::text, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
  LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
WHERE d.datname = %s ORDER BY 1, 2"""
GRANTS = """
SELECT coalesce(r.rolname::text, ''), a.privilege_type, a.is_grantable
FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = %s ORDER BY 1, 2"""
# Settings whose stored text is itself a quoted list (GUC_LIST_QUOTE in PostgreSQL's guc_tables).
LISTS = re.compile(r".*_preload_libraries|search_path|temp_tablespaces|unix_socket_directories")
# One item of a stored list: in double quotes, which are doubled inside it, or bare.
ITEM = re.compile(r'"((?:[^"]|"")*)"|([^", ]+)')


@dataclass(frozen=True)
class Properties:
    """Properties of a database, as a manifest holds them. Settings and grants for everybody have "" as their role."""

    owner: str
    connection_limit: int = -1
    comment: str | None = None
    settings: list[list[str]] = field(default_factory=list)  # role, name, text as stored
    grants: list[list[Any]] | None = None  # role, privilege, may pass it on; None: the default

    def search_path(self) -> str:
        """Return the search_path of the owner's sessions as it is stored; "" when it is not set for the database."""
        found = {role: text for role, name, text in self.settings if name == "search_path"}
        return found.get(self.owner) or found.get("", "")


def read(session: Session, name: str) -> Properties | None:
    """Read the properties of a database of the server, without what this program marked it with; None: no such one."""
    if not (found := rows(session, PROPERTIES, [name])):
        return None
    ((owner, limit, has_grants, comment),) = found
    marker = markers.parse(comment)
    return Properties(
        owner=owner,
        connection_limit=-1 if limit == markers.CONNECTION_LIMIT else limit,
        comment=marker.comment if marker else comment,
        settings=list(map(list, rows(session, SETTINGS, [name]))),
        grants=list(map(list, rows(session, GRANTS, [name]))) if has_grants else None,
    )


def statements(session: Session, properties: Properties, name: str) -> list[str]:
    """Return the statements that give a new database of the server these properties; for roles that it has."""
    known = {"", *column(session, "SELECT rolname::text FROM pg_roles")}
    database = f"DATABASE {quote(name)}"
    owner = quote(properties.owner) if properties.owner in known else "CURRENT_USER"
    found = [f"ALTER {database} OWNER TO {owner}", *own_statements(properties, name)]
    for role, setting, text in properties.settings:
        if role in known:
            target = f"ALTER ROLE {quote(role)} IN {database}" if role else f"ALTER {database}"
            found.append(target + set_clause(setting, text))
    if properties.grants is not None:
        found.append(f"REVOKE ALL ON {database} FROM PUBLIC, {owner}")
        for role, privilege, grantable in properties.grants:
            if role in known:
                option = " WITH GRANT OPTION" if grantable else ""
                found.append(
                    f"GRANT {privilege} ON {database} TO {quote(role) if role else 'PUBLIC'}{option}"
                )
    return found


def own_statements(properties: Properties, name: str) -> list[str]:
    """Return the statements that give a database back what this program's marks are in the place of."""
    comment = literal(properties.comment) if properties.comment is not None else "NULL"
    return [
        f"ALTER DATABASE {quote(name)} CONNECTION LIMIT {properties.connection_limit}",
        f"COMMENT ON DATABASE {quote(name)} IS {comment}",
    ]


def set_clause(name: str, text: str) -> str:
    """Return the end of a statement that gives a setting the value that pg_db_role_setting holds as text."""
    value = literal(text)
    if LISTS.fullmatch(name):
        items = [bare or quoted.replace('""', '"') for quoted, bare in ITEM.findall(text)]
        value = ", ".join(map(literal, items)) or "''"
    return f" SET {'.'.join(quote(part) for part in name.split('.'))} TO {value}"
