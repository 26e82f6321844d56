package session

// NewSealer and its methods are what the benchmarks of sealing need.
func NewSealer(keys [][]byte) sealer { return newSealer(keys) }

// Seal is seal.
func (s sealer) Seal(storeKey string, plaintext []byte) ([]byte, error) {
	return s.seal(storeKey, plaintext)
}

// Open is open.
func (s sealer) Open(storeKey string, value []byte) ([]byte, error) { return s.open(storeKey, value) }

// ToolName returns the name that models have for a session's tool.
func ToolName(key, tool string) string { return toolName(key, tool) }
