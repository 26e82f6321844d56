package otelsession

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// scope is the name of the instrumentation.
const scope = "github.com/mcpoauth/mcpoauth/session/otelsession"

// Config configures an [Observer]. The zero value is usable.
type Config struct {
	// MeterProvider gets the metrics. Defaults to the global one.
	MeterProvider metric.MeterProvider
	// TracerProvider gets the spans. Defaults to the global one.
	TracerProvider trace.TracerProvider
	// Propagator writes the trace context that servers get. Defaults to W3C
	// Trace Context without baggage.
	Propagator propagation.TextMapPropagator
	// MaxServers is how many servers the metrics tell apart, the first ones that
	// are used. All others count as "_OTHER", because users may connect to any
	// number. Defaults to 100.
	MaxServers int
	// RedisConnected, if set, reports whether Redis is connected, for the metric
	// mcpoauth.redis.connected: [hybridstore.Store.IsRedisConnected].
	//
	// [hybridstore.Store.IsRedisConnected]: https://pkg.go.dev/github.com/mcpoauth/mcpoauth/store/hybridstore#Store.IsRedisConnected
	RedisConnected func() bool
}

// Observer implements [oauthclient.Observer]. Make one per process with [New].
type Observer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	metrics    *metrics
}

var _ oauthclient.Observer = (*Observer)(nil)

// New validates cfg and returns an Observer. There is nothing to close.
func New(cfg Config) (*Observer, error) {
	if cfg.MaxServers < 0 {
		return nil, errors.New("otelsession: Config.MaxServers: must not be negative")
	}
	if cfg.MaxServers == 0 {
		cfg.MaxServers = 100
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.TraceContext{}
	}
	m, err := newMetrics(cfg)
	if err != nil {
		return nil, err
	}
	return &Observer{tracer: cfg.TracerProvider.Tracer(scope), propagator: cfg.Propagator, metrics: m}, nil
}

// Inject implements [oauthclient.Observer].
func (o *Observer) Inject(ctx context.Context, set func(name, value string)) {
	o.propagator.Inject(ctx, carrier(set))
}

// carrier is a [propagation.TextMapCarrier] that is only written.
type carrier func(name, value string)

func (carrier) Get(string) string        { return "" }
func (c carrier) Set(name, value string) { c(name, value) }
func (carrier) Keys() []string           { return nil }

// Start implements [oauthclient.Observer].
func (o *Observer) Start(ctx context.Context, work oauthclient.Work) (context.Context, func(oauthclient.Outcome)) {
	switch work.Kind {
	case oauthclient.WorkStore, oauthclient.WorkDecode, oauthclient.WorkAuthorization:
		return o.count(ctx, work)
	}
	begun := time.Now()
	ctx, span := o.tracer.Start(ctx, spanName(work), trace.WithSpanKind(spanKind(ctx, work)), trace.WithAttributes(spanAttributes(work)...))
	o.metrics.begin(ctx, work)
	return ctx, func(out oauthclient.Outcome) {
		o.metrics.end(ctx, work, out, time.Since(begun))
		if span.IsRecording() {
			span.SetAttributes(outcomeAttributes(work, out)...)
			if failed(work, out) {
				span.SetStatus(codes.Error, "")
			}
		}
		span.End()
	}
}

// count observes work that is too frequent, or too short, for a span.
func (o *Observer) count(ctx context.Context, work oauthclient.Work) (context.Context, func(oauthclient.Outcome)) {
	begun := time.Now()
	return ctx, func(out oauthclient.Outcome) {
		o.metrics.end(ctx, work, out, time.Since(begun))
		if work.Kind == oauthclient.WorkAuthorization {
			trace.SpanFromContext(ctx).AddEvent("mcpoauth.authorization.begin", trace.WithAttributes(reason(out)))
		}
	}
}

// failed reports whether work counts as an error. A caller's mistake is no error
// of an endpoint.
func failed(work oauthclient.Work, out oauthclient.Outcome) bool {
	if work.Kind == oauthclient.WorkEndpoint {
		return out.Status >= 500
	}
	return out.ErrorType != ""
}

// spanName returns a name of which there are few, tools and prompts aside.
func spanName(work oauthclient.Work) string {
	switch work.Kind {
	case oauthclient.WorkHTTP:
		return work.Name
	case oauthclient.WorkMCP:
		if work.Target != "" && !strings.HasPrefix(work.Name, "resources/") {
			return work.Name + " " + work.Target
		}
		return work.Name
	}
	return "mcpoauth " + work.Name
}

// spanKind is that of a server only if no span of the host is around it.
func spanKind(ctx context.Context, work oauthclient.Work) trace.SpanKind {
	switch work.Kind {
	case oauthclient.WorkMCP, oauthclient.WorkHTTP:
		return trace.SpanKindClient
	case oauthclient.WorkEndpoint:
		if !trace.SpanContextFromContext(ctx).IsValid() {
			return trace.SpanKindServer
		}
	}
	return trace.SpanKindInternal
}
