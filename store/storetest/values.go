package storetest

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// valueCases are about one caller, one record and no waiting.
func valueCases() []testCase {
	return []testCase{
		{"GetMissing", checkGetMissing},
		{"SwapCreate", checkSwapCreate},
		{"SwapUpdate", checkSwapUpdate},
		{"SwapDelete", checkSwapDelete},
		{"SwapConflict", checkSwapConflict},
		{"SwapNilForNil", checkSwapNilForNil},
		{"EmptyValue", checkEmptyValue},
		{"Delete", checkDelete},
		{"BinaryValues", checkBinaryValues},
		{"LargeValues", checkLargeValues},
		{"OddKeys", checkOddKeys},
		{"AliasingIn", checkAliasingIn},
		{"AliasingOut", checkAliasingOut},
	}
}

func checkGetMissing(s *suite) {
	s.wantAbsent("k", "Get of a record that never existed is ErrNotFound")
	s.create("k", []byte("v"))
	s.wantAbsent("k2", "Get of a record that never existed is ErrNotFound, whatever others exist")
}

func checkSwapCreate(s *suite) {
	s.create("k", []byte("v1"))
	s.wantValue("k", []byte("v1"), "Get returns what Swap created")
	err := s.swap(s.Store, "k", nil, []byte("v2"), s.later())
	require.ErrorIs(s, err, store.ErrConflict,
		"contract: Swap with a nil old is ErrConflict when a live record exists")
	s.wantValue("k", []byte("v1"), "a Swap that conflicts changes nothing")
	err = s.swap(s.Store, "k", nil, []byte("v1"), s.later())
	require.ErrorIs(s, err, store.ErrConflict,
		"contract: Swap with a nil old is ErrConflict also when the live record equals new")
}

func checkSwapUpdate(s *suite) {
	s.create("k", []byte("v1"))
	require.NoError(s, s.swap(s.Store, "k", []byte("v1"), []byte("v2"), s.later()),
		"contract: Swap replaces a value that equals old")
	s.wantValue("k", []byte("v2"), "Get returns what Swap replaced a value with")
	require.NoError(s, s.swap(s.Store, "k", []byte("v2"), []byte("v2"), s.later()),
		"contract: Swap of a value for itself succeeds")
	require.NoError(s, s.swap(s.Store, "k", []byte("v2"), []byte("a longer value"), s.later()),
		"contract: Swap may change a value's length")
	s.wantValue("k", []byte("a longer value"), "Get returns what Swap replaced a value with")
}

func checkSwapDelete(s *suite) {
	s.create("k", []byte("v1"))
	err := s.swap(s.Store, "k", []byte("other"), nil, time.Time{})
	require.ErrorIs(s, err, store.ErrConflict,
		"contract: Swap with a nil new is ErrConflict when the stored value is not old")
	s.wantValue("k", []byte("v1"), "a Swap to delete that conflicts changes nothing")

	require.NoError(s, s.swap(s.Store, "k", []byte("v1"), nil, time.Time{}),
		"contract: Swap with a nil new deletes and does not look at the expiry")
	s.wantAbsent("k", "Swap with a nil new deletes the record")
	err = s.swap(s.Store, "k", []byte("v1"), nil, time.Time{})
	require.ErrorIs(s, err, store.ErrConflict,
		"contract: Swap to delete a record that was deleted is ErrConflict, so it can be taken once")

	s.create("k", []byte("v1"))
	require.NoError(s, s.swap(s.Store, "k", []byte("v1"), nil, s.later()),
		"contract: Swap with a nil new deletes whatever the expiry")
	s.wantAbsent("k", "Swap with a nil new deletes the record whatever the expiry")
}

func checkSwapConflict(s *suite) {
	err := s.swap(s.Store, "k", []byte("v1"), []byte("v2"), s.later())
	require.ErrorIs(s, err, store.ErrConflict,
		"contract: Swap with an old value is ErrConflict when no record exists")
	s.wantAbsent("k", "a Swap that conflicts creates nothing")

	stored := []byte("value")
	s.create("k", stored)
	for name, old := range map[string][]byte{
		"another value":       []byte("other"),
		"a prefix":            []byte("valu"),
		"an extension":        []byte("value1"),
		"another case":        []byte("VALUE"),
		"a trailing newline":  []byte("value\n"),
		"a trailing NUL byte": []byte("value\x00"),
		"an empty value":      {},
	} {
		err := s.swap(s.Store, "k", old, []byte("new"), s.later())
		require.ErrorIs(s, err, store.ErrConflict,
			"contract: Swap is ErrConflict unless the stored value is old, byte for byte: %s", name)
	}
	s.wantValue("k", stored, "a Swap that conflicts changes nothing")
}

func checkSwapNilForNil(s *suite) {
	require.NoError(s, s.swap(s.Store, "k", nil, nil, time.Time{}),
		"contract: Swap of nil for nil succeeds when no record exists")
	s.wantAbsent("k", "Swap of nil for nil creates nothing")
	s.create("k", []byte("v"))
	require.ErrorIs(s, s.swap(s.Store, "k", nil, nil, time.Time{}), store.ErrConflict,
		"contract: Swap of nil for nil is ErrConflict when a live record exists")
	s.wantValue("k", []byte("v"), "a Swap that conflicts changes nothing")
}

func checkEmptyValue(s *suite) {
	empty := []byte{}
	require.ErrorIs(s, s.swap(s.Store, "k", empty, []byte("v"), s.later()), store.ErrConflict,
		"contract: an empty old that is not nil is a value, not the absence of one")
	s.create("k", empty)
	s.wantValue("k", empty, "an empty value can be stored, and Get returns it as an empty slice, not nil")
	require.ErrorIs(s, s.swap(s.Store, "k", nil, []byte("v"), s.later()), store.ErrConflict,
		"contract: a record with an empty value exists")
	require.NoError(s, s.swap(s.Store, "k", empty, []byte("v"), s.later()),
		"contract: an empty old matches an empty value")
	require.NoError(s, s.swap(s.Store, "k", []byte("v"), empty, s.later()),
		"contract: an empty new that is not nil is stored, it does not delete")
	s.wantValue("k", empty, "an empty new that is not nil is stored, it does not delete")
	require.NoError(s, s.swap(s.Store, "k", empty, nil, time.Time{}),
		"contract: an empty value can be deleted through Swap")
	s.wantAbsent("k", "Swap with a nil new deletes the record")
}

func checkDelete(s *suite) {
	require.NoError(s, s.del(s.Store, "k"), "contract: Delete of a record that never existed is no error")
	s.create("k", []byte("v"))
	s.create("k2", []byte("v2"))
	require.NoError(s, s.del(s.Store, "k"), "contract: Delete removes a record whatever its value")
	s.wantAbsent("k", "Delete removes the record")
	s.wantValue("k2", []byte("v2"), "Delete leaves other records alone")
	require.NoError(s, s.del(s.Store, "k"), "contract: Delete of a record that was deleted is no error")
	err := s.swap(s.Store, "k", []byte("v"), []byte("w"), s.later())
	require.ErrorIs(s, err, store.ErrConflict, "contract: a deleted record matches no old value")
	s.create("k", []byte("again"))
	s.wantValue("k", []byte("again"), "a deleted record can be created again")
}

func checkBinaryValues(s *suite) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := bytes.Repeat(every, 64<<10/len(every))
	for name, value := range map[string][]byte{
		"every byte":      every,
		"64 KiB":          large,
		"one NUL":         {0},
		"line ends":       []byte("a\r\nb\n\r"),
		"spaces around":   []byte("  v  "),
		"not UTF-8":       {0xff, 0xfe, 0xc0, 0x80},
		"like an integer": []byte("00042"),
		"like a float":    []byte("1e3"),
		"like nil":        []byte("nil"),
		"like JSON":       []byte(`{"a": 1}`),
	} {
		s.create(name, value)
		s.wantValue(name, value, "a value comes back byte for byte: "+name)
		changed := bytes.Clone(value)
		changed[len(changed)-1] ^= 1
		require.ErrorIs(s, s.swap(s.Store, name, changed, []byte("w"), s.later()), store.ErrConflict,
			"contract: Swap compares byte for byte, to the last one: %s", name)
		require.NoError(s, s.swap(s.Store, name, value, changed, s.later()),
			"contract: Swap compares byte for byte: %s", name)
		s.wantValue(name, changed, "a value comes back byte for byte: "+name)
	}
}

func checkLargeValues(s *suite) {
	largest := bytes.Repeat([]byte("v"), s.MaxValueBytes)
	tooLarge := append(bytes.Clone(largest), 'v')
	s.create("k", largest)
	s.wantValue("k", largest, "a value may be as long as the limit")
	for name, err := range map[string]error{
		"create":  s.swap(s.Store, "new", nil, tooLarge, s.later()),
		"replace": s.swap(s.Store, "k", largest, tooLarge, s.later()),
	} {
		require.ErrorIs(s, err, store.ErrInvalid, "contract: a value longer than the limit is an argument error: %s", name)
		wantNoSentinel(s, err, "a value that is too long")
	}
	s.wantAbsent("new", "a Swap to a value that is too long creates nothing")
	s.wantValue("k", largest, "a Swap to a value that is too long changes nothing")
	require.NoError(s, s.swap(s.Store, "k", largest, []byte("w"), s.later()), "contract: Swap replaces a value of any length")
}

func checkOddKeys(s *suite) {
	long := strings.Repeat("k", 511)
	keys := []string{
		"a", "A", "aa", "a ", " a", " ", "a\n", "a\r\n", "a\t", "a\x00", "\x00", "a\x00b",
		"{a}", "{a}b", "{}", "{", "}", "a:b", "a::b", ":", "*", "a*", "?", "[a]", "%", "%61", "_", "a_",
		"../a", "a/", "/a", `\`, `a\`, `'`, `"`, "'; --", "$a", "nil", "0", "00", "1e3",
		"\u00e9", "e\u0301", "\u65e5\u672c", "\U0001f511", "\xff", "\xfe\xff", long + "1", long + "2",
	}
	for i, key := range keys {
		s.create(key, []byte{byte(i)})
	}
	for i, key := range keys {
		s.wantValue(key, []byte{byte(i)}, "keys are compared byte for byte and none changes another: "+strconv.Quote(key))
	}
	for i, key := range keys {
		require.NoError(s, s.del(s.Store, key), "contract: every key can be deleted: %q", key)
		s.wantAbsent(key, "Delete removes the record of exactly this key: "+strconv.Quote(key))
		if i+1 < len(keys) {
			s.wantValue(keys[i+1], []byte{byte(i + 1)}, "Delete leaves other keys alone: "+strconv.Quote(keys[i+1]))
		}
	}
	for _, key := range keys {
		s.wantLock(s.Store, key, s.longTTL(), "every key names a lock of its own: "+strconv.Quote(key))
	}
}

func checkAliasingIn(s *suite) {
	value := []byte("value")
	s.create("k", value)
	value[0] = 'X'
	s.wantValue("k", []byte("value"), "changing a slice after Swap created with it changes nothing stored")

	old, next := []byte("value"), []byte("next!")
	require.NoError(s, s.swap(s.Store, "k", old, next, s.later()), "contract: Swap replaces a value that equals old")
	require.Equal(s, "value", string(old), "contract: Swap does not write to old")
	require.Equal(s, "next!", string(next), "contract: Swap does not write to new")
	old[0], next[0] = 'X', 'X'
	s.wantValue("k", []byte("next!"), "changing a slice after Swap replaced with it changes nothing stored")
}

func checkAliasingOut(s *suite) {
	s.create("k", []byte("value"))
	first, err := s.get(s.Store, "k")
	require.NoError(s, err, "contract: Get returns what Swap created")
	clear(first[:cap(first)])
	s.wantValue("k", []byte("value"), "changing what Get returned changes nothing stored")

	first, err = s.get(s.Store, "k")
	require.NoError(s, err, "contract: Get returns what Swap created")
	require.NoError(s, s.swap(s.Store, "k", []byte("value"), []byte("other"), s.later()),
		"contract: Swap replaces a value that equals old")
	require.Equal(s, "value", string(first), "contract: what Get returned is not changed by a later Swap")
}
