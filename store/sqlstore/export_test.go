package sqlstore

import "strings"

// Schema is the SQL that creates the tables.
func Schema(d Dialect, prefix string) string {
	return d.replacer(prefix).Replace(strings.Join(schema, ";\n") + ";\n")
}
