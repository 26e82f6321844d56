package session

import "context"

// NewSealer and its methods are what the benchmarks of sealing need.
func NewSealer(keys [][]byte) sealer { return newSealer(keys) }

// Seal is seal.
func (s sealer) Seal(storeKey string, plaintext []byte) ([]byte, error) {
	return s.seal(storeKey, plaintext)
}

// Open is open.
func (s sealer) Open(storeKey string, value []byte) ([]byte, error) { return s.open(storeKey, value) }

// KeepAliveOnce is one round of KeepAlive.
func (m *Manager) KeepAliveOnce(ctx context.Context) (more bool, err error) { return m.keepAlive(ctx) }

// BucketSize returns the number of sessions in a stored bucket.
func (m *Manager) BucketSize(storeKey string, value []byte) (int, error) {
	var b bucket
	err := m.sealer.decode(storeKey, value, &b)
	return len(b.Sessions), err
}

// ToolName returns the name that models have for a session's tool.
func ToolName(key, tool string) string { return toolName(key, tool) }
