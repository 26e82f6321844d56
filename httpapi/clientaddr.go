package httpapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress names the client that a request comes from, by its address or,
// since one IPv6 customer has at least that, by its /64. X-Forwarded-For is
// read only as far as proxies of Config.TrustedProxies wrote it: from the right,
// up to the first address that is not one of theirs. What is further left comes
// from the client and may be invented.
func (h *Handler) clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown" // a Unix socket, say; Config.RateKey can tell more
	}
	client := plainAddress(peer.Addr())
	if !h.trusted(client) {
		h.noteProxy(r, client)
		return clientNetwork(client)
	}
	headers := r.Header.Values("X-Forwarded-For")
	for _, header := range slices.Backward(headers) {
		for header != "" {
			cut := strings.LastIndexByte(header, ',')
			hop, ok := parseHop(header[cut+1:])
			if !ok {
				return clientNetwork(client)
			}
			if client = hop; !h.trusted(client) {
				return clientNetwork(client)
			}
			header = header[:max(cut, 0)]
		}
	}
	return clientNetwork(client)
}

func (h *Handler) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(h.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// noteProxy warns, once, of a proxy that is not configured: all its clients share one
// budget, so one busy client can use it up for the others.
func (h *Handler) noteProxy(r *http.Request, peer netip.Addr) {
	if r.Header.Get("X-Forwarded-For") == "" || !peer.IsPrivate() && !peer.IsLoopback() {
		return // from elsewhere it is a client's invention
	}
	h.proxyNote.Do(func() {
		h.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "mcpoauth: requests come through a proxy that is not in Config.TrustedProxies; all its clients share one rate limit",
			slog.String("proxy", peer.String()))
	})
}

// parseHop reads one entry of X-Forwarded-For; some proxies add a port.
func parseHop(entry string) (netip.Addr, bool) {
	entry = strings.TrimSpace(entry)
	if addr, err := netip.ParseAddr(entry); err == nil {
		return plainAddress(addr), true
	}
	if hop, err := netip.ParseAddrPort(entry); err == nil {
		return plainAddress(hop.Addr()), true
	}
	return netip.Addr{}, false
}

// plainAddress is the address in the form in which prefixes contain it.
func plainAddress(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func clientNetwork(addr netip.Addr) string {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return "unknown" // not for a valid address
	}
	return prefix.String()
}
