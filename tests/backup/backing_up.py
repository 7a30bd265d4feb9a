"""What tests of backups share: what is backed up, and what lies in the folder afterwards."""

from __future__ import annotations

from typing import Any

CONTENTS = r"""
SET search_path = public;
DROP ROLE IF EXISTS clerk;
CREATE ROLE clerk LOGIN PASSWORD 'unread';
CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('4f1c7a90d2e6');
CREATE TABLE run (id int PRIMARY KEY, note text);
INSERT INTO run SELECT g, E'two\nlines \\. ' || g FROM generate_series(1, 1000) g;
CREATE TABLE "Odd.""name
of two lines" ("a
COPY public.run (id) FROM stdin;
b" int); INSERT INTO "Odd.""name
of two lines" VALUES (1), (2); ALTER TABLE "Odd.""name
of two lines" OWNER TO clerk;
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10); INSERT INTO parted VALUES (1);
CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1);
CREATE MATERIALIZED VIEW stale AS SELECT count(*) FROM run; INSERT INTO run VALUES (1001, 'after the view');
SELECT lo_from_bytea(0, decode(repeat('00ff', 70000), 'hex'));
RESET search_path;
"""
BULK = """
INSERT INTO public.run SELECT g, string_agg(md5(random()::text), '')
FROM generate_series(2000, 20000) g, generate_series(1, 40) GROUP BY g"""


def files(app: Any) -> list[str]:
    return sorted(each.name for each in app.settings.folder.iterdir() if each.name != ".lock")
