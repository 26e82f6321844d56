package redis

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// A record in Redis is the writer's stamp, the expiry in milliseconds, a mark,
// and the value. The stamp is random and new with each Swap, so that a Swap
// that is sent again after a lost connection recognizes its own first attempt.
// Extend keeps the stamp.
const (
	stampLen  = 8
	expiryLen = 8
	headerLen = stampLen + expiryLen + 1
)

// mark tells a record from what another program has put under its key.
const mark = 'v'

// Stamp is the mark of a write by which the write recognizes its own work.
type Stamp [stampLen]byte

// NewStamp returns a random stamp.
func NewStamp() (stamp Stamp) {
	binary.BigEndian.PutUint64(stamp[:], rand.Uint64())
	return stamp
}

// Record is a stored value with what else is known about it.
type Record struct {
	Value  string
	Expiry time.Time // to the millisecond
	// Stamp is another one after every Swap, also of the same value.
	Stamp Stamp
}

func encode(stamp Stamp, value []byte, expiry time.Time) string {
	record := make([]byte, 0, headerLen+len(value))
	record = append(record, stamp[:]...)
	record = binary.BigEndian.AppendUint64(record, uint64(expireAt(expiry)+1))
	record = append(record, mark)
	return string(append(record, value...))
}

// encodeExpiry is how a record holds its expiry. Such strings sort by time.
func encodeExpiry(milliseconds int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(milliseconds)))
}

// decode reads what encode wrote. The result shares memory with encoded.
func decode(encoded string) (Record, error) {
	if len(encoded) < headerLen || encoded[headerLen-1] != mark {
		return Record{}, errForeign
	}
	expiry := binary.BigEndian.Uint64([]byte(encoded[stampLen : stampLen+expiryLen]))
	record := Record{Value: encoded[headerLen:], Expiry: time.UnixMilli(int64(expiry))}
	copy(record.Stamp[:], encoded)
	return record, nil
}

// lastExpiry bounds expiries where milliseconds would overflow.
var lastExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// expireAt is the last millisecond of a record's life, which is what Redis
// wants to know: to it, a key is still there in the millisecond of its expiry.
// Zero or less has passed.
func expireAt(expiry time.Time) int64 {
	if expiry.After(lastExpiry) {
		expiry = lastExpiry
	}
	if expiry.Before(time.Unix(0, 0)) {
		return 0
	}
	return expiry.UnixMilli() - 1
}
