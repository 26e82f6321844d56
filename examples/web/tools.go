package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// tool is a tool of a demo server. Each shows something else of the page.
type tool struct {
	mcp.Tool
	call mcp.ToolHandler
}

// createEvent has one of every kind of field.
var createEvent = tool{
	Tool: mcp.Tool{
		Name: "create_event", Title: "Create an event", Description: "Puts an event into the calendar and returns it.",
		InputSchema: json.RawMessage(`{"type":"object","required":["title","kind","seats","guests"],"properties":{
			"title":{"type":"string","title":"Title","minLength":3,"maxLength":80,"default":"Team lunch"},
			"kind":{"type":"string","title":"Kind","enum":["meeting","party","workshop"],"default":"party"},
			"date":{"type":"string","title":"Date","format":"date"},
			"seats":{"type":"integer","title":"Seats","description":"How many may come.","minimum":1,"maximum":500,"default":12},
			"price":{"type":"number","title":"Price","description":"In euros, per guest.","minimum":0},
			"public":{"type":"boolean","title":"Open to everybody","default":false},
			"notes":{"type":"string","title":"Notes","maxLength":2000},
			"place":{"type":"object","title":"Place","description":"Leave it out for an online event.","required":["city"],"properties":{
				"city":{"type":"string","title":"City"},
				"street":{"type":"string","title":"Street"}}},
			"guests":{"type":"array","title":"Guests","minItems":1,"maxItems":20,"items":{"type":"object","required":["name"],"properties":{
				"name":{"type":"string","title":"Name"},
				"email":{"type":"string","title":"Email","format":"email"}}}},
			"tags":{"type":"array","title":"Tags","items":{"type":"string"}}}}`),
	},
	call: func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var event map[string]json.RawMessage
		if err := json.Unmarshal(req.Params.Arguments, &event); err != nil {
			return nil, err
		}
		event["id"] = json.RawMessage("9007199254740993") // above 2^53: must not be rounded on the way
		return &mcp.CallToolResult{
			Content:           []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf("Created the event %s.", event["title"])}},
			StructuredContent: event,
		}, nil
	},
}

// drawChart returns a picture.
var drawChart = tool{
	Tool: mcp.Tool{
		Name: "draw_chart", Title: "Draw a chart", Description: "Draws numbers as bars.", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
		InputSchema: json.RawMessage(`{"type":"object","required":["values"],"properties":{
			"values":{"type":"array","title":"Values","minItems":1,"maxItems":24,"items":{"type":"number","minimum":0},"default":[3,5,4,8,6,9]}}}`),
	},
	call: func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var args struct{ Values []float64 }
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, err
		}
		picture, err := chart(args.Values)
		if err != nil {
			return nil, err
		}
		return &mcp.CallToolResult{Content: []mcp.Content{
			&mcp.TextContent{Text: fmt.Sprintf("A chart of %d values.", len(args.Values))},
			&mcp.ImageContent{MIMEType: "image/png", Data: picture},
		}}, nil
	},
}

// playTone returns a sound.
var playTone = tool{
	Tool: mcp.Tool{
		Name: "play_tone", Title: "Play a tone", Description: "Returns a sine wave to listen to.", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
		InputSchema: json.RawMessage(`{"type":"object","properties":{
			"hertz":{"type":"integer","title":"Pitch","description":"In hertz.","minimum":50,"maximum":4000,"default":440}}}`),
	},
	call: func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		args := struct{ Hertz int }{440}
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, err
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.AudioContent{MIMEType: "audio/wav", Data: tone(args.Hertz)}}}, nil
	},
}

// readManual returns a resource and links to others.
var readManual = tool{
	Tool: mcp.Tool{
		Name: "read_manual", Title: "Read the manual", Description: "Returns a page of the manual and where to read on.", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
		InputSchema: json.RawMessage(`{"type":"object","properties":{}}`),
	},
	call: func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{
			&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{
				URI: "manual://welcome", MIMEType: "text/markdown",
				Text: "# Welcome\n\nTools return text, pictures, sounds and resources.\nWhatever they return is shown as it is: <b>this is not bold</b>.",
			}},
			&mcp.ResourceLink{
				URI: "https://modelcontextprotocol.io/specification", Name: "specification", Title: "The specification",
				Description: "What tools may return.", MIMEType: "text/html",
			},
			&mcp.ResourceLink{URI: "manual://next", Name: "next-page", MIMEType: "text/markdown"},
		}}, nil
	},
}

// publish needs a scope that no user has granted yet.
var publish = tool{
	Tool: mcp.Tool{
		Name: "publish", Title: "Publish", Description: "Publishes a note. Needs a permission that you will be asked for.",
		InputSchema: json.RawMessage(`{"type":"object","required":["note"],"properties":{
			"note":{"type":"string","title":"Note","default":"Hello, world"}}}`),
	},
	call: func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var args struct{ Note string }
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, err
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "Published: " + args.Note}}}, nil
	},
}

// buildReport takes its time, and says how far it is.
var buildReport = tool{
	Tool: mcp.Tool{
		Name: "build_report", Title: "Build a report", Description: "Takes a while, reports its progress, and can be cancelled.",
		InputSchema: json.RawMessage(`{"type":"object","properties":{
			"pages":{"type":"integer","title":"Pages","description":"Half a second each.","minimum":1,"maximum":240,"default":20}}}`),
	},
	call: func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		args := struct{ Pages int }{20}
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, err
		}
		for i := range args.Pages {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(500 * time.Millisecond):
			}
			if token := req.Params.GetProgressToken(); token != nil {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
					ProgressToken: token, Progress: float64(i + 1), Total: float64(args.Pages),
					Message: fmt.Sprintf("page %d of %d", i+1, args.Pages),
				})
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf("A report of %d pages.", args.Pages)}}}, nil
	},
}

// chart draws bars.
func chart(values []float64) ([]byte, error) {
	const width, height, gap = 480, 200, 6
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	highest := 1.0
	if len(values) > 0 {
		highest = math.Max(highest, slices.Max(values))
	}
	for i, value := range values {
		left, right := i*width/len(values)+gap/2, (i+1)*width/len(values)-gap/2
		top := height - int(math.Max(0, value)/highest*(height-10))
		draw.Draw(picture, image.Rect(left, top, right, height), image.NewUniform(color.RGBA{79, 94, 214, 255}), image.Point{}, draw.Src)
	}
	var out bytes.Buffer
	err := png.Encode(&out, picture)
	return out.Bytes(), err
}

// tone makes a second of a sine wave as a WAV file, 8 bits, mono.
func tone(hertz int) []byte {
	const rate = 16000
	out := bytes.NewBufferString("RIFF")
	number := func(v any) { _ = binary.Write(out, binary.LittleEndian, v) } // never fails
	number(uint32(36 + rate))
	out.WriteString("WAVEfmt ")
	for _, v := range []any{uint32(16), uint16(1), uint16(1), uint32(rate), uint32(rate), uint16(1), uint16(8)} {
		number(v)
	}
	out.WriteString("data")
	number(uint32(rate))
	for i := range rate {
		fade := math.Min(1, float64(rate-i)/rate*4)
		out.WriteByte(byte(128 + 90*fade*math.Sin(2*math.Pi*float64(hertz)*float64(i)/rate)))
	}
	return out.Bytes()
}
