package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// OnProgress panics while a question is open, in the answer or on the standalone
// stream: what works beside the call ends before the panic reaches the caller. The test
// is not parallel, because it looks at all goroutines.
func TestProgress_PanicLeavesNoGoroutine(t *testing.T) {
	const question = `data: {"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}` + "\n\n"
	for name, method := range map[string]string{"in the answer": http.MethodPost, "on the standalone stream": http.MethodGet} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{})
			f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
				if r.Method != http.MethodGet && m.Method != "tools/call" {
					w.WriteHeader(http.StatusAccepted)
					return
				}
				stream(w, m, ": open\n\n")
				if r.Method == method {
					stream(w, m, question)
				}
				if r.Method == http.MethodPost {
					<-asked
					stream(w, m, `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}`+"\n\n")
				}
				<-r.Context().Done()
			})
			ends := make(chan error, 1)
			f.Observe = func(ctx context.Context, _ wire.Request, _ string) (context.Context, map[string]string, func(json.RawMessage, error)) {
				return ctx, nil, func(_ json.RawMessage, err error) { ends <- err }
			}
			op := f.NewOp()
			op.Asks = true
			op.OnRequest = func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
				close(asked)
				<-ctx.Done()
				return nil, errors.New("the call has ended")
			}
			op.OnProgress = func(mcp.ProgressNotificationParams) { panic("a mistake of the host") }
			require.PanicsWithValue(t, "a mistake of the host", func() {
				_, _ = f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
			})
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			for _, work := range []string{"wire.(*exchange).answerQueue(", "wire.(*Client).hold("} {
				require.False(t, bytes.Contains(stacks, []byte(work)), "%s goes on", work)
			}
			require.Error(t, <-ends, "the observer hears of the end")
		})
	}
}
