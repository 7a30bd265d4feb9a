-- What only a server with ICU and the distribution's extensions can hold.
CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm SCHEMA "odd schema";
CREATE COLLATION german_phonebook (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE person (name text COLLATE german_phonebook PRIMARY KEY, login text COLLATE any_case UNIQUE, more hstore);
INSERT INTO person SELECT 'Ärger ' || g, 'User' || g, hstore('n', g::text) FROM generate_series(1, 300) g;
CREATE INDEX ON person USING gin (name "odd schema".gin_trgm_ops);
