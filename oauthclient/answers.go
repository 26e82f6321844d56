package oauthclient

import "time"

// serverAnswers records the servers' answers about credentials. It is stored with
// them, so that all replicas know them.
type serverAnswers struct {
	// Issued is when the access token was issued; zero when unknown.
	Issued time.Time `json:"issued,omitzero"`
	// Renewed reports that the access token came from a refresh after a 401.
	Renewed bool `json:"renewed,omitempty"`

	// Failures counts the refreshes since the last success that got an answer
	// and no token.
	Failures int `json:"failures,omitempty"`
	// Refusal is the code of the last final refusal since the last success.
	Refusal string `json:"refusal,omitempty"`
	// RetryAt is when the refused refresh token may be sent again.
	RetryAt time.Time `json:"retry_at,omitzero"`

	// Rejections counts the grants in a row whose tokens the MCP server rejected
	// although they had just been issued.
	Rejections int `json:"rejections,omitempty"`
	// RejectedAt is when the last of these was counted.
	RejectedAt time.Time `json:"rejected_at,omitzero"`
	// Rejected reports that it was the present grant.
	Rejected bool `json:"rejected,omitempty"`
}

// granted carries over what was known before a new grant.
func (s *serverAnswers) granted(before serverAnswers) {
	s.Rejections, s.RejectedAt, s.Rejected = before.Rejections, before.RejectedAt, false
}

// rejected counts a grant whose new token the MCP server rejects.
func (s *serverAnswers) rejected(now time.Time) {
	if s.Rejected || !now.Before(s.RejectedAt.Add(rejectionWindow)) {
		s.Rejections = 0 // the grant worked in between
	}
	s.Rejections++
	s.RejectedAt, s.Rejected = now, true
}

// grantRejected reports whether the rejection of the present grant was counted
// lately.
func (s serverAnswers) grantRejected(now time.Time) bool {
	return s.Rejected && now.Before(s.RejectedAt.Add(rejectionWindow))
}

// issued notes a new access token, which forced reports to be the result of a
// refresh after a 401.
func (s *serverAnswers) issued(now time.Time, forced bool) {
	s.Issued, s.Renewed = now, forced
	s.Failures, s.Refusal, s.RetryAt = 0, "", time.Time{}
}

// refusing reports whether the refresh token was refused too recently to be
// sent again.
func (s serverAnswers) refusing(now time.Time) bool {
	return s.Refusal != "" && pausing(now, s.RetryAt)
}

// pausing reports whether a pause after a failed refresh is not over. One that is
// longer than any was set by a clock that was ahead.
func pausing(now, end time.Time) bool {
	left := end.Sub(now)
	return left > 0 && left <= maxRefreshBackoff
}

// backoff returns the pause after the present number of failures.
func (s serverAnswers) backoff() time.Duration {
	return min(refreshBackoff<<min(max(s.Failures-1, 0), 10), maxRefreshBackoff)
}
