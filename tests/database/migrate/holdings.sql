-- One of everything that is hard to move. For psql, as a superuser, in the database that is to be moved.
CREATE ROLE "Odd ""Owner""" NOLOGIN CREATEDB CONNECTION LIMIT 3;
CREATE ROLE reader NOLOGIN;
CREATE ROLE archivist NOLOGIN IN ROLE reader;

CREATE SCHEMA "odd schema" AUTHORIZATION "Odd ""Owner""";
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE DOMAIN share AS numeric CHECK (VALUE BETWEEN 0 AND 1);

CREATE TABLE run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    slope double precision NOT NULL,
    percent double precision GENERATED ALWAYS AS (slope * 100) STORED,
    mood mood DEFAULT 'calm',
    part share,
    tags text[],
    settings jsonb,
    made timestamptz NOT NULL,
    raw bytea
);
INSERT INTO run (name, slope, mood, part, tags, settings, made, raw)
SELECT 'run ' || g, sqrt(g) / 7, (ARRAY['calm', 'wild'])[1 + g % 2]::mood, (g % 10) / 10.0, ARRAY['a b', 'ü', NULL, ''],
    jsonb_build_object('n', g, 'x', 'It''s \ "quoted"'), '2026-03-29 01:30+00'::timestamptz + g * interval '1 hour', decode(md5(g::text), 'hex')
FROM generate_series(1, 5000) g;

CREATE TABLE "odd schema"."Table with ""quotes""" (id int PRIMARY KEY, run bigint REFERENCES run, "the text" text);
ALTER TABLE "odd schema"."Table with ""quotes""" OWNER TO "Odd ""Owner""";
INSERT INTO "odd schema"."Table with ""quotes""" SELECT g, g, repeat('~', g % 100) FROM generate_series(1, 2000) g;
GRANT SELECT ON run TO reader;
GRANT USAGE ON SCHEMA "odd schema" TO reader WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO archivist;

CREATE TABLE flow (day date NOT NULL, site int NOT NULL, mm real, PRIMARY KEY (day, site)) PARTITION BY RANGE (day);
CREATE TABLE flow_early PARTITION OF flow FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE flow_late PARTITION OF flow FOR VALUES FROM ('2026-01-01') TO (MAXVALUE) PARTITION BY HASH (site);
CREATE TABLE flow_late_0 PARTITION OF flow_late FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE flow_late_1 PARTITION OF flow_late FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO flow SELECT date '2025-12-01' + g % 60, g / 60, g / 3.0 FROM generate_series(0, 5999) g;

CREATE VIEW wild AS SELECT id, name FROM run WHERE mood = 'wild';
CREATE MATERIALIZED VIEW flow_by_day AS SELECT day, sum(mm) AS mm FROM flow GROUP BY day;
CREATE UNIQUE INDEX ON flow_by_day (day);
CREATE MATERIALIZED VIEW wettest AS SELECT * FROM flow_by_day ORDER BY mm DESC LIMIT 5;
CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS one WITH NO DATA;
CREATE INDEX ON run USING gin (settings);
CREATE STATISTICS run_together ON mood, part FROM run;
CREATE SEQUENCE "Counter" START 40 INCREMENT 2;
SELECT nextval('"Counter"'), nextval('"Counter"');
CREATE SEQUENCE untouched;
COMMENT ON TABLE run IS 'Läufe';

CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.made := clock_timestamp(); RETURN NEW; END$$;
CREATE TRIGGER stamp BEFORE UPDATE ON run FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE ddl_log (id serial PRIMARY KEY, tag text);
CREATE FUNCTION note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.ddl_log (tag) VALUES (tg_tag); END$$;
CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION note_ddl();
CREATE TABLE guarded (id int PRIMARY KEY, who text);
INSERT INTO guarded VALUES (1, 'a'), (2, 'b');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded TO reader USING (who = current_user);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('4f1c7a90d2e6');

DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database());
EXECUTE format('ALTER ROLE reader IN DATABASE %I SET search_path = ''odd schema'', public', current_database()); END$$;
