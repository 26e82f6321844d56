package redisstore_test

import (
	"os"
	"testing"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }
