package redistest

import (
	"os"
	"os/exec"
	"runtime"
	"time"
)

// endTimeout is how long a server may take to end in good order.
const endTimeout = 5 * time.Second

// process is a child process that is waited for.
type process struct {
	p    *os.Process
	done chan struct{} // closed when it has ended
}

// startProcess starts a child that dies with this process. The kernel ties
// that to the thread which forked, so the goroutine that forks keeps its thread
// until the child has ended.
func startProcess(path string, args []string) (*process, error) {
	type outcome struct {
		proc *process
		err  error
	}
	started := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(path, args...)
		cmd.SysProcAttr = dieWithParent()
		if err := cmd.Start(); err != nil {
			started <- outcome{err: err}
			return
		}
		proc := &process{p: cmd.Process, done: make(chan struct{})}
		started <- outcome{proc: proc}
		_ = cmd.Wait()
		close(proc.done)
	}()
	o := <-started
	return o.proc, o.err
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// end ends the process, paused or not, and waits until it is gone.
func (p *process) end(kill bool) {
	if !kill {
		_ = p.terminate()
		select {
		case <-p.done:
			return
		case <-time.After(endTimeout):
		}
	}
	_ = p.p.Kill()
	<-p.done
}
