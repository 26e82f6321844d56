package session

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// NamedTool is a tool of one of an owner's sessions.
type NamedTool struct {
	// Name is the tool's name for a model: at most 64 of the characters A to Z, a
	// to z, 0 to 9, "_" and "-", no two alike among an owner's tools. It stays the
	// same for as long as the session exists.
	Name string
	// Tool is the tool as its server describes it, with the server's own name.
	Tool *oauthclient.Tool
	// Session is the session that has it.
	Session Info
}

// FailedSession is a session whose tools could not be listed.
type FailedSession struct {
	Session Info
	// Err is that of [Manager.ListTools].
	Err error
}

// OwnerTools is what an owner's sessions offer together.
type OwnerTools struct {
	// Tools are those of all sessions that answered, oldest session first, in
	// the order of each server.
	Tools []NamedTool
	// NeedUser are the sessions whose user must authorize: [Manager.Connect] with
	// the session's ID returns the URL.
	NeedUser []Info
	// Failed are the other sessions that have no tools now.
	Failed []FailedSession
}

// Tools lists the tools of all sessions of a caller's owner at once, for a chat
// back end that hands them to its model; [Manager.ResolveTool] finds what the
// model then calls. Sessions that have not answered after Config.ToolsTimeout,
// or when the deadline of ctx has passed, are among the failed: they cost the
// others nothing. Sessions that no user has authorized yet are not asked, and are in
// NeedUser. The error is that of [Manager.Sessions], or of a ctx that was cancelled.
func (m *Manager) Tools(ctx context.Context, caller Caller) (OwnerTools, error) {
	sessions, err := m.ownersSessions(ctx, caller.Owner)
	if err != nil {
		return OwnerTools{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, m.cfg.ToolsTimeout)
	defer cancel()
	listed := make([][]*oauthclient.Tool, len(sessions))
	failures := make([]error, len(sessions))
	var asked parallel
	for i, s := range sessions {
		if s.unfinished() || s.Status == StatusAuthorizationRequired && s.creds.RefreshToken.IsZero() {
			failures[i] = errNeedsUser
			continue
		}
		asked.Go(func() {
			listed[i], failures[i] = m.ListTools(bounded, caller, s.key+s.Secret)
		})
	}
	asked.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return OwnerTools{}, ctx.Err()
	}
	var all OwnerTools
	taken := make(map[string]bool)
	for i, s := range sessions {
		info := m.info(s)
		if err := failures[i]; err != nil {
			all.add(info, err)
			continue
		}
		for _, tool := range listed[i] {
			name := m.nameTool(s.key, tool.Name)
			if tool.Name == "" || taken[name] {
				continue // the server lists it twice
			}
			taken[name] = true
			all.Tools = append(all.Tools, NamedTool{Name: name, Tool: tool, Session: info})
		}
	}
	return all, nil
}

// errNeedsUser is the error of a session whose server is not asked, because its user
// must authorize first.
var errNeedsUser = errors.New("session: the user must authorize")

// add notes a session without tools.
func (t *OwnerTools) add(info Info, err error) {
	_, required := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	_, store := errors.AsType[*StoreError](err) // also one with a time limit of its own
	switch {
	case required, errors.Is(err, errNeedsUser):
		t.NeedUser = append(t.NeedUser, info)
	case errors.Is(err, ErrNotFound): // it has just ended
	case !store && errors.Is(err, context.DeadlineExceeded):
		err = &oauthclient.TemporaryError{Op: "listing tools", Timeout: true, Err: err}
		fallthrough
	default:
		t.Failed = append(t.Failed, FailedSession{info, err})
	}
}

// ResolveTool finds the session and the tool that a [NamedTool.Name] stands for,
// on every replica:
//
//	info, tool, err := m.ResolveTool(ctx, caller, name)
//	if err != nil {
//		return err
//	}
//	result, err := m.CallTool(ctx, caller, info.ID.Reveal(), tool, args)
//
// It asks no server, unless the server's name had to be changed for models and
// this replica has not listed the tools. A name that is no tool of the caller's
// owner is an [*InputError]. Whether a tool exists still, its server says at the
// call.
func (m *Manager) ResolveTool(ctx context.Context, caller Caller, name string) (Info, string, error) {
	unknown := &InputError{Field: "name", Reason: "is no tool of this user"}
	tool, mark, isChanged, ok := splitToolName(name)
	if !ok {
		return Info{}, "", unknown
	}
	sessions, err := m.ownersSessions(ctx, caller.Owner)
	if err != nil {
		return Info{}, "", err
	}
	sessions = slices.DeleteFunc(sessions, func(s stored) bool { return sessionMark(s.key) != mark })
	if len(sessions) != 1 {
		return Info{}, "", unknown
	}
	s := sessions[0]
	if !isChanged {
		return m.info(s), tool, nil
	}
	if original := m.cache.original(s.key, name); original != "" {
		return m.info(s), original, nil
	}
	tools, err := m.ListTools(ctx, caller, s.key+s.Secret)
	if err != nil {
		return Info{}, "", err
	}
	for _, listed := range tools {
		if m.nameTool(s.key, listed.Name) == name {
			return m.info(s), listed.Name, nil
		}
	}
	return Info{}, "", unknown
}

// nameTool returns the name of a tool for models. It remembers what a changed name
// stands for.
func (m *Manager) nameTool(key, tool string) string {
	name := toolName(key, tool)
	if !fitsModel(tool) {
		m.cache.rename(key, name, tool)
	}
	return name
}

// maxRenamed bounds the changed names that are remembered of one session.
const maxRenamed = 256

// rename remembers what a changed name stands for.
func (c *cache) rename(key, name, tool string) {
	c.with(key, false, func(entry *cached) {
		if entry.renamed == nil || len(entry.renamed) >= maxRenamed {
			entry.renamed = make(map[string]string)
		}
		if entry.renamed[name] == "" { // of two tools with one name, the first counts
			entry.renamed[name] = tool
		}
	})
}

// original returns what a changed name stands for; empty if it is not known.
func (c *cache) original(key, name string) (tool string) {
	c.with(key, false, func(entry *cached) { tool = entry.renamed[name] })
	return tool
}

// ownersSessions reads the sessions of an owner, oldest first.
func (m *Manager) ownersSessions(ctx context.Context, owner string) ([]stored, error) {
	if m.isClosed() {
		return nil, ErrClosed
	}
	if owner == "" {
		return nil, nil
	}
	index, _, err := m.readOwner(ctx, owner)
	if errors.Is(err, errNoList) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return m.readAll(ctx, owner, index.Sessions)
}

// byAge compares two sessions by their creation.
func byAge(a, b stored) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.key, b.key))
}
