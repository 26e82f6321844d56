package oauthclient_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A question is judged by the names that the front end reads: JavaScript takes
// them as they are spelled.
func TestQuestionsWithNamesInTwoSpellings(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		question string
		shown    bool
	}{
		"a URL":                    {`{"method":"elicitation/create","params":{"mode":"url","url":"https://pay.example","URL":"javascript:alert(1)"}}`, true},
		"a script beside a URL":    {`{"method":"elicitation/create","params":{"mode":"url","url":"javascript:alert(1)","URL":"https://pay.example"}}`, false},
		"a form beside a URL":      {`{"method":"elicitation/create","params":{"mode":"url","Mode":"form","url":"javascript:alert(1)"}}`, false},
		"another method":           {`{"method":"sampling/createMessage","Method":"elicitation/create","params":{}}`, false},
		"other parameters":         {`{"method":"elicitation/create","params":{"mode":"url","url":"javascript:alert(1)"},"Params":{}}`, false},
		"parameters of no object":  {`{"method":"elicitation/create","params":null}`, false},
		"a question of no object":  {`null`, false},
		"a mode that is no text":   {`{"method":"elicitation/create","params":{"mode":["form"]}}`, false},
		"a form of before the URL": {`{"method":"elicitation/create","params":{"message":"Sure?"}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mcptest.New(mcptest.Options{JSONResponse: true, Raw: func(method string, _ json.RawMessage) *mcptest.RawReply {
				if method != "tools/call" {
					return nil
				}
				return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"input_required","inputRequests":{"q":` + tt.question + `}}`)}
			}})
			t.Cleanup(server.Close)
			client, err := oauthclient.New(oauthclient.Config{
				ServerURL: server.URL(), CallbackURL: "https://app.example/callback",
				Shared: oauthclient.Shared{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})},
			})
			require.NoError(t, err)
			_, err = client.CallToolAsking(t.Context(), "echo", nil, oauthclient.Asking{Form: true, URL: true}, nil)
			if tt.shown {
				var required *oauthclient.InputRequiredError
				require.ErrorAs(t, err, &required)
				require.JSONEq(t, `{"q":`+tt.question+`}`, string(required.Requests))
				return
			}
			var bad *oauthclient.ServerError
			require.ErrorAs(t, err, &bad)
		})
	}
}
