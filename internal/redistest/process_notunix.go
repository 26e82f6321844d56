//go:build !unix

package redistest

import "errors"

var errNoSignals = errors.New("redistest: this system has no such signal")

func (p *process) terminate() error { return p.p.Kill() }

func (p *process) pause() error { return errNoSignals }

func (p *process) resume() error { return errNoSignals }
