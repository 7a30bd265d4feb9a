"""Properties of a database that no dump carries."""

from __future__ import annotations

import json
from dataclasses import asdict

from wepp_backup import markers
from wepp_backup.database_properties import Properties, read, statements
from wepp_backup.server import Server, Session, execute, literal, quote, value

NAME = "wepppy"
COPY = 'the "copy"'
GIVEN = """
ALTER DATABASE wepppy CONNECTION LIMIT 42;
COMMENT ON DATABASE wepppy IS 'it''s \\ the "live" one';
ALTER DATABASE wepppy SET search_path = "$user", 'a "b", c', public;
ALTER DATABASE wepppy SET work_mem = '7MB';
ALTER DATABASE wepppy SET "my_app.Word" = 'it''s, "this"';
ALTER DATABASE wepppy SET session_preload_libraries = '';
ALTER ROLE "odd, role" IN DATABASE wepppy SET DateStyle = 'German, DMY';
REVOKE ALL ON DATABASE wepppy FROM PUBLIC;
GRANT CONNECT ON DATABASE wepppy TO "odd, role" WITH GRANT OPTION;
GRANT TEMPORARY ON DATABASE wepppy TO PUBLIC;
ALTER DATABASE wepppy OWNER TO "odd, role";
"""


def prepare(session: Session) -> None:
    if not value(session, "SELECT count(*) FROM pg_roles WHERE rolname = 'odd, role'"):
        execute(session, 'CREATE ROLE "odd, role"')
    for each in GIVEN.strip().split(";\n"):
        if each:
            execute(session, each.rstrip(";"))


def apply(session: Session, properties: Properties) -> Properties | None:
    execute(session, f"CREATE DATABASE {quote(COPY)}")
    for each in statements(session, properties, COPY):
        execute(session, each)
    return read(session, COPY)


def test_a_new_database_gets_every_property_of_another_by_way_of_a_manifest(
    server: Server, live: Session
) -> None:
    prepare(live)
    properties = read(live, NAME)
    assert properties
    assert properties.owner == "odd, role"
    assert len(properties.settings) == 5
    assert properties.search_path() == '"$user", "a ""b"", c", public'
    assert Properties(**json.loads(json.dumps(asdict(properties)))) == properties
    assert apply(live, properties) == properties


def test_a_database_as_it_was_made_stays_so(live: Session) -> None:
    properties = read(live, NAME)
    assert properties == Properties(owner="wepppy")
    assert properties.search_path() == ""
    assert apply(live, properties) == properties


def test_what_is_meant_for_roles_that_the_server_lacks_is_left_out(live: Session) -> None:
    prepare(live)
    properties = read(live, NAME)
    assert properties
    execute(live, 'ALTER DATABASE wepppy OWNER TO wepppy; DROP OWNED BY "odd, role"')
    execute(live, 'ALTER ROLE "odd, role" IN DATABASE wepppy RESET ALL; DROP ROLE "odd, role"')
    there = apply(live, properties)
    assert there
    assert there.owner == "wepppy"
    assert there.grants == [["", "TEMPORARY", False]]
    assert {role for role, *_ in there.settings} == {""}


def test_the_marks_of_this_program_are_no_properties(live: Session) -> None:
    marker = markers.Marker(markers.KEPT, NAME, comment="its own")
    execute(live, f"COMMENT ON DATABASE wepppy IS {literal(marker.text())}")
    execute(live, f"ALTER DATABASE wepppy CONNECTION LIMIT {markers.CONNECTION_LIMIT}")
    assert read(live, NAME) == Properties(owner="wepppy", comment="its own")


def test_there_are_no_properties_of_no_database(live: Session) -> None:
    assert read(live, "nothing") is None
