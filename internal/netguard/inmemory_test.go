package netguard_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
	"github.com/mcpoauth/mcpoauth/internal/ports"
)

// text is a body in memory.
type text struct {
	io.Reader
	text []byte
	sent bool
}

func newText(s string) *text { return &text{Reader: strings.NewReader(s), text: []byte(s)} }

func (b *text) Close() error { return nil }
func (b *text) Text() []byte { return b.text }
func (b *text) Sent()        { b.sent = true }

func post(ctx context.Context, t *testing.T, url string, body *text) error {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	require.NoError(t, err)
	req.Body, req.ContentLength = body, int64(len(body.text))
	resp, err := client(netguard.Policy{AllowLoopback: true}, netguard.Names{}).Transport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

// The header and a body in memory cost one packet.
func TestInMemory_OnePacket(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	first := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		packet := make([]byte, 64<<10)
		n, _ := conn.Read(packet)
		first <- string(packet[:n])
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}()
	body := newText(`{"jsonrpc":"2.0"}`)
	require.NoError(t, post(t.Context(), t, "http://"+listener.Addr().String(), body))
	header, sent, _ := strings.Cut(<-first, "\r\n\r\n")
	require.Contains(t, header, "Content-Length: 17")
	require.Equal(t, `{"jsonrpc":"2.0"}`, sent)
	require.True(t, body.sent)
}

func TestInMemory_SentOrNot(t *testing.T) {
	t.Parallel()
	refused, err := ports.Refused()
	require.NoError(t, err)
	body := newText("x")
	require.Error(t, post(t.Context(), t, "http://"+refused, body))
	require.False(t, body.sent, "no connection")
	body = newText("x")
	require.ErrorIs(t, post(t.Context(), t, "http://10.0.0.1", body), netguard.ErrForbidden)
	require.False(t, body.sent, "an address that the policy refuses")

	// It reads a request, and ends the connection.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			for read := new(bytes.Buffer); !strings.HasSuffix(read.String(), "\r\n\r\nx"); {
				if _, err := io.CopyN(read, conn, 1); err != nil {
					break
				}
			}
			_ = conn.Close()
		}
	}()
	body = newText("x")
	require.Error(t, post(t.Context(), t, "http://"+listener.Addr().String(), body))
	require.True(t, body.sent, "a server that ends the connection may have read it")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body = newText("x")
	require.ErrorIs(t, post(ctx, t, "http://"+listener.Addr().String(), body), context.Canceled)
	require.False(t, body.sent, "a request that was given up before")
}
