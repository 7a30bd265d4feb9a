package census

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Hashes of one database. Equal hashes are equal contents, whatever order the rows lie in.
type Hashes struct {
	Tables       map[string]TableHash `json:"tables"`        // by "schema.table"
	Views        map[string]TableHash `json:"views"`         // materialised views, not compared (see the package)
	Sequences    map[string]string    `json:"sequences"`     // "last value, whether it was given out"
	LargeObjects string               `json:"large_objects"` // SHA-256 over numbers and contents
	Count        int64                `json:"large_object_count"`
}

// TableHash is a table's rows and the sum over the rows' 64-bit hashes, a decimal number.
type TableHash struct {
	Rows int64  `json:"rows"`
	Sum  string `json:"sum"`
}

// rowHash is the SQL that counts a relation's rows, r, and sums up their 64-bit hashes. Each column goes through the
// server's own hash function of its type, which takes a quarter of the time of hashing `r::text`: numbers and moments
// side by side, seeded with the column's place among the sorted names; the seed of all texts, one after the other, is
// what came before. Of types whose own hash calls different values equal (numeric, float, json) the text is taken.
func rowHash(one relation) string {
	seeds := []string{"0"}
	var texts []string
	for i, each := range one.columns {
		name := "r." + pgx.Identifier{each.name}.Sanitize()
		if hash, has := hashes[each.kind]; has {
			seeds = append(seeds, fmt.Sprintf("coalesce(%s, %d)", fmt.Sprintf(hash, name, i+1), -i-1))
		} else if each.kind == pgtype.TextOID || each.kind == pgtype.VarcharOID {
			texts = append(texts, "coalesce("+name+", "+null+")")
		} else {
			// The type's output function: a cast to text may be another, and leave blanks out.
			texts = append(texts, "CASE num_nulls("+name+") WHEN 0 THEN concat("+name+") ELSE "+null+" END")
		}
	}
	row := mixed(seeds)
	for _, text := range append(texts, "''") {
		// In collation C, because a hash under another one asks the C library.
		row = "hashtextextended(" + text + ` COLLATE "C", ` + row + ")"
	}
	return "count(*)::text, coalesce(sum(" + row + "), 0)::text"
}

// hashes are the expressions for a column and a seed, by type. That of a bigint folds its halves onto one another, so
// the value itself is mixed in. A moment's halves are folded, too, and the server gives its 64 bits as no number cheaply:
// of 2^32 ways to change one, a single way is overlooked.
var hashes = map[uint32]string{
	pgtype.Int2OID:        "hashint2extended(%s, %d)",
	pgtype.Int4OID:        "hashint4extended(%s, %d)",
	pgtype.Int8OID:        "hashint8extended(%[1]s, %[2]d) # %[1]s",
	pgtype.BoolOID:        "hashint4extended(%s::int4, %d)",
	pgtype.UUIDOID:        "uuid_hash_extended(%s, %d)",
	pgtype.TimestampOID:   "timestamp_hash_extended(%s, %d)",
	pgtype.TimestamptzOID: "timestamp_hash_extended(timezone('UTC', %s), %d)",
}

// null stands for a NULL among texts.
const null = `E'\x01null'`

// mixed is the SQL for the sum modulo 2 of all; halved again and again, for a server's patience with depth is limited.
func mixed(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	half := len(parts) / 2
	return "(" + mixed(parts[:half]) + " # " + mixed(parts[half:]) + ")"
}

// Hash reads everything there is in the database once. The session's parameters must be those of postgres.Server.Connect
// on both sides of a comparison.
func Hash(ctx context.Context, session *pgx.Conn) (Hashes, error) {
	hashes := Hashes{Tables: map[string]TableHash{}, Views: map[string]TableHash{}, Sequences: map[string]string{}}
	all, err := relations(ctx, session)
	if err != nil {
		return hashes, err
	}
	err = each(ctx, session, all, rowHash, func(one relation, first, second string) error {
		rows, err := number(first)
		into := hashes.Tables
		if one.view {
			into = hashes.Views
		}
		into[one.name()] = TableHash{Rows: rows, Sum: second}
		return err
	})
	if err != nil {
		return hashes, err
	}
	if err := hashSequences(ctx, session, hashes.Sequences); err != nil {
		return hashes, err
	}
	hashes.LargeObjects, hashes.Count, err = hashLargeObjects(ctx, session)
	return hashes, err
}

// Counts are the rows that were hashed.
func (h Hashes) Counts() Counts {
	counts := Counts{Tables: map[string]int64{}, Views: map[string]int64{}, LargeObjects: h.Count}
	for name, each := range h.Tables {
		counts.Tables[name] = each.Rows
	}
	for name, each := range h.Views {
		counts.Views[name] = each.Rows
	}
	return counts
}

// Differences between what was expected and what there is, one sentence each.
func (h Hashes) Differences(there Hashes) []string {
	found := h.Counts().Differences(there.Counts())
	var changed []string
	for name, want := range h.Tables {
		if got, has := there.Tables[name]; has && got.Rows == want.Rows && got.Sum != want.Sum {
			changed = append(changed, fmt.Sprintf("%s has other contents in its %d rows", name, want.Rows))
		}
	}
	for name, want := range h.Sequences {
		if got, has := there.Sequences[name]; !has {
			changed = append(changed, fmt.Sprintf("the sequence %s is missing", name))
		} else if got != want {
			changed = append(changed, fmt.Sprintf("the sequence %s stands at %s instead of %s", name, got, want))
		}
	}
	for name := range there.Sequences {
		if _, has := h.Sequences[name]; !has {
			changed = append(changed, fmt.Sprintf("the sequence %s is too much", name))
		}
	}
	sort.Strings(changed)
	found = append(found, changed...)
	if h.Count == there.Count && h.LargeObjects != there.LargeObjects {
		found = append(found, fmt.Sprintf("the %d large objects have other contents", h.Count))
	}
	return found
}

const sequencesQuery = `
SELECT n.nspname, c.relname, false FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2`

func hashSequences(ctx context.Context, session *pgx.Conn, into map[string]string) error {
	rows, err := session.Query(ctx, sequencesQuery)
	if err != nil {
		return fmt.Errorf("listing the sequences: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (relation, error) {
		var one relation
		return one, row.Scan(&one.schema, &one.table, &one.view)
	})
	if err != nil {
		return fmt.Errorf("listing the sequences: %w", err)
	}
	return each(ctx, session, all, func(relation) string { return "last_value::text, is_called::text" }, func(one relation, value, called string) error {
		into[one.name()] = value + ", " + called
		return nil
	})
}

// slice of a large object in bytes: what one answer carries.
const slice = 1 << 20

func hashLargeObjects(ctx context.Context, session *pgx.Conn) (string, int64, error) {
	rows, err := session.Query(ctx, "SELECT oid::bigint FROM pg_largeobject_metadata ORDER BY oid")
	if err != nil {
		return "", 0, fmt.Errorf("listing the large objects: %w", err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return "", 0, fmt.Errorf("listing the large objects: %w", err)
	}
	total := sha256.New()
	for _, one := range numbers {
		content := sha256.New()
		for offset := int64(0); ; {
			var part []byte
			if err := session.QueryRow(ctx, "SELECT lo_get($1::bigint::oid, $2::bigint, $3::int)", one, offset, int32(slice)).Scan(&part); err != nil {
				return "", 0, fmt.Errorf("reading large object %d: %w", one, err)
			}
			content.Write(part)
			offset += int64(len(part))
			if len(part) < slice {
				break
			}
		}
		fmt.Fprintf(total, "%d %x\n", one, content.Sum(nil))
	}
	return hex.EncodeToString(total.Sum(nil)), int64(len(numbers)), nil
}

func number(text string) (int64, error) {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the server's count: %w", err)
	}
	return value, nil
}
