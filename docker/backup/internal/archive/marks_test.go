package archive

import "testing"

func TestAColumnsMarkIsTakenOutOfASchemaAndNothingElse(t *testing.T) {
	const schema = `CREATE TABLE public."a SET (b" (
    id integer
);
ALTER TABLE ONLY public."a SET (b" ALTER COLUMN id SET (pg_attver=28689960);
ALTER TABLE ONLY public.run ALTER COLUMN name SET (pg_attver=7, n_distinct=5);
ALTER TABLE ONLY public.run ALTER COLUMN part SET (n_distinct=-0.5);
ALTER FOREIGN TABLE ONLY public.far ALTER COLUMN id SET (pg_attver=9);
ALTER TABLE ONLY public.run ALTER COLUMN part SET STATISTICS 400;
CREATE FUNCTION public.f() RETURNS void
    LANGUAGE plpgsql
    AS $$BEGIN
ALTER TABLE ONLY public.run ALTER COLUMN name SET (pg_attver=7);
END$$;
COMMENT ON TABLE public.run IS 'pg_attver=7';
`
	const wanted = `CREATE TABLE public."a SET (b" (
    id integer
);
ALTER TABLE ONLY public.run ALTER COLUMN name SET (n_distinct=5);
ALTER TABLE ONLY public.run ALTER COLUMN part SET (n_distinct=-0.5);
ALTER TABLE ONLY public.run ALTER COLUMN part SET STATISTICS 400;
CREATE FUNCTION public.f() RETURNS void
    LANGUAGE plpgsql
    AS $$BEGIN
ALTER TABLE ONLY public.run ALTER COLUMN name SET (pg_attver=7);
END$$;
COMMENT ON TABLE public.run IS 'pg_attver=7';
`
	if got := string(withoutMarks([]byte(schema))); got != wanted {
		t.Errorf("got\n%s\nwanted\n%s", got, wanted)
	}
}
