package httpapi

import (
	"net/http"
	"time"
)

// pieceBytes is the size of the pieces in which an answer is written. Each piece
// has a deadline of its own: a slow reader of a large answer is served, and one
// that does not read is given up after one Config.WriteTimeout.
const pieceBytes = 64 << 10

// paced writes an answer with a rolling deadline.
type paced struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (h *Handler) paced(w http.ResponseWriter) paced {
	return paced{w, http.NewResponseController(w), h.cfg.WriteTimeout}
}

// write writes data in pieces. Writers that know no deadline work without.
func (p paced) write(data []byte) error {
	for len(data) > 0 {
		piece := data[:min(len(data), pieceBytes)]
		data = data[len(piece):]
		_ = p.control.SetWriteDeadline(time.Now().Add(p.timeout))
		if _, err := p.w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// flush sends what is buffered within the last deadline, if the writer can.
func (p paced) flush() { _ = p.control.Flush() }

// end flushes, because net/http would do so without a deadline, and takes the
// deadline off for the next request on the connection.
func (p paced) end() {
	p.flush()
	_ = p.control.SetWriteDeadline(time.Time{})
}
