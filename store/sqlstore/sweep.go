package sqlstore

import (
	"context"
	"log/slog"
	"time"
)

const (
	// sweepRows and sweepRounds bound the rows of each table that one statement
	// and one sweep delete.
	sweepRows   = 1000
	sweepRounds = 10

	// sweepAgain is the time until the next sweep where one has left rows.
	sweepAgain = time.Second
)

// sweepSoon starts a sweep in the background if one is due. A store that is not
// written to does not grow, so nothing else has to start one, and there is
// nothing to close.
func (s *Store) sweepSoon() {
	now, due := time.Now(), s.nextSweep.Load()
	if now.UnixNano() < due || !s.nextSweep.CompareAndSwap(due, now.Add(s.sweepInterval).UnixNano()) {
		return
	}
	if due == 0 {
		return // the first interval begins with the first write
	}
	go s.sweep()
}

// sweep deletes expired rows, oldest first.
func (s *Store) sweep() {
	for _, statement := range s.sql.sweep {
		rows := int64(sweepRows)
		for round := 0; round < sweepRounds && rows == sweepRows; round++ {
			err := s.try(context.Background(), "sweep", func(ctx context.Context, _ bool) (err error) {
				rows, err = s.exec(ctx, statement, sweepRows)
				return err
			})
			if err != nil {
				s.log.Warn("sqlstore: expired rows stay for now", slog.Any("error", err))
				return
			}
		}
		if rows == sweepRows {
			s.nextSweep.Store(time.Now().Add(sweepAgain).UnixNano())
		}
	}
}
