package otelsession

import (
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// The attributes of the semantic conventions for MCP and HTTP.
const (
	mcpMethod    = attribute.Key("mcp.method.name")
	mcpVersion   = attribute.Key("mcp.protocol.version")
	genAIAction  = attribute.Key("gen_ai.operation.name")
	genAITool    = attribute.Key("gen_ai.tool.name")
	genAIPrompt  = attribute.Key("gen_ai.prompt.name")
	rpcStatus    = attribute.Key("rpc.response.status_code")
	transport    = attribute.Key("network.transport")
	httpMethod   = attribute.Key("http.request.method")
	httpStatus   = attribute.Key("http.response.status_code")
	serverHost   = attribute.Key("server.address")
	serverPort   = attribute.Key("server.port")
	errorType    = attribute.Key("error.type")
	operation    = attribute.Key("mcpoauth.operation")
	endpointName = attribute.Key("mcpoauth.endpoint")
	record       = attribute.Key("mcpoauth.store.record")
	purpose      = attribute.Key("mcpoauth.request.purpose")
	askReason    = attribute.Key("mcpoauth.authorization.reason")
)

// metricAttributes are those of work in metrics, without the server.
func metricAttributes(work oauthclient.Work) []attribute.KeyValue {
	switch work.Kind {
	case oauthclient.WorkMCP:
		attrs := []attribute.KeyValue{mcpMethod.String(work.Name), transport.String("tcp")}
		if work.Version != "" {
			attrs = append(attrs, mcpVersion.String(work.Version))
		}
		if work.Name == "tools/call" {
			attrs = append(attrs, genAIAction.String("execute_tool"))
		}
		return attrs
	case oauthclient.WorkHTTP:
		return []attribute.KeyValue{httpMethod.String(work.Name)}
	case oauthclient.WorkEndpoint:
		return []attribute.KeyValue{endpointName.String(work.Name)}
	case oauthclient.WorkStore:
		return []attribute.KeyValue{operation.String(work.Name), record.String(work.Target)}
	}
	return []attribute.KeyValue{operation.String(work.Name)}
}

// spanAttributes are those of work in spans.
func spanAttributes(work oauthclient.Work) []attribute.KeyValue {
	attrs := append(metricAttributes(work), server(work.Server)...)
	switch {
	case work.Target == "":
	case work.Kind == oauthclient.WorkHTTP:
		attrs = append(attrs, purpose.String(work.Target))
	case work.Name == "tools/call":
		attrs = append(attrs, genAITool.String(work.Target))
	case work.Name == "prompts/get":
		attrs = append(attrs, genAIPrompt.String(work.Target))
	}
	return attrs
}

// outcomeAttributes are those of an outcome, in metrics and spans.
func outcomeAttributes(work oauthclient.Work, out oauthclient.Outcome) (attrs []attribute.KeyValue) {
	if out.Status != 0 {
		attrs = append(attrs, httpStatus.Int(out.Status))
	}
	if out.ErrorType != "" {
		attrs = append(attrs, errorType.String(out.ErrorType))
		if work.Kind == oauthclient.WorkMCP && out.ErrorType[0] == '-' {
			attrs = append(attrs, rpcStatus.String(out.ErrorType))
		}
	}
	if out.Reason != "" {
		attrs = append(attrs, reason(out))
	}
	return attrs
}

func reason(out oauthclient.Outcome) attribute.KeyValue { return askReason.String(string(out.Reason)) }

// server returns the attributes of a host with an optional port.
func server(host string) []attribute.KeyValue {
	if host == "" {
		return nil
	}
	if name, port, err := net.SplitHostPort(host); err == nil {
		if number, err := strconv.Atoi(port); err == nil {
			return []attribute.KeyValue{serverHost.String(name), serverPort.Int(number)}
		}
	}
	return []attribute.KeyValue{serverHost.String(host)}
}
