package session_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/session"
)

var modelName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)

func TestToolNames(t *testing.T) {
	t.Parallel()
	key := session.GenerateSessionID()[:26]
	for tool, want := range map[string]string{
		"search":                 `^search_[a-z2-7]{10}$`,
		"a":                      `^a_[a-z2-7]{10}$`,
		"Get-Issue_2":            `^Get-Issue_2_[a-z2-7]{10}$`,
		"repo.search":            `^repo_search_[a-z2-7]{8}-[a-z2-7]{10}$`,
		"repo/search":            `^repo_search_[a-z2-7]{8}-[a-z2-7]{10}$`,
		"2fa":                    `^_2fa_[a-z2-7]{8}-[a-z2-7]{10}$`,
		"-x":                     `^x_[a-z2-7]{8}-[a-z2-7]{10}$`,
		"检索":                     `^tool_[a-z2-7]{8}-[a-z2-7]{10}$`,
		"Füße_zählen":            `^F_e_z_hlen_[a-z2-7]{8}-[a-z2-7]{10}$`,
		strings.Repeat("x", 53):  `^x{53}_[a-z2-7]{10}$`,
		strings.Repeat("x", 54):  `^x{43}_[a-z2-7]{8}-[a-z2-7]{10}$`,
		strings.Repeat("é", 200): `^tool_[a-z2-7]{8}-[a-z2-7]{10}$`,
		strings.Repeat("é ", 90): `^tool_[a-z2-7]{8}-[a-z2-7]{10}$`,
		"a b\n\x00c":             `^a_b_c_[a-z2-7]{8}-[a-z2-7]{10}$`,
	} {
		name := session.ToolName(key, tool)
		require.Regexp(t, want, name, tool)
		require.Regexp(t, modelName, name)
		require.Equal(t, name, session.ToolName(key, tool), "stable")
	}
}

// However tools are called, no two of them, and no two sessions, get one name.
func FuzzToolName(f *testing.F) {
	key, other := session.GenerateSessionID()[:26], session.GenerateSessionID()[:26]
	f.Add("search", "search_abcdefgh")
	f.Add("检索", "検索")
	f.Add(strings.Repeat("x", 54), strings.Repeat("x", 55))
	f.Add("repo.search", "repo/search")
	f.Add("a.b", "a_b_"+session.ToolName(key, "a.b")[4:12]) // spelled like the changed name of the other
	f.Fuzz(func(t *testing.T, a, b string) {
		names := []string{session.ToolName(key, a), session.ToolName(key, b), session.ToolName(other, a)}
		for _, name := range names {
			require.Regexp(t, modelName, name)
		}
		if a != b {
			require.NotEqual(t, names[0], names[1])
		}
		require.NotEqual(t, names[0], names[2])
	})
}
