-- Logical replication leaves them out, so they have a file of their own.
SELECT lo_from_bytea(4711, decode(repeat('00ff', 1500000), 'hex'));
SELECT lo_from_bytea(0, '\x01');
ALTER LARGE OBJECT 4711 OWNER TO "Odd ""Owner""";
CREATE TABLE picture (id int PRIMARY KEY, content oid);
INSERT INTO picture VALUES (1, 4711);
