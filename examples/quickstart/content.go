package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// content is a request or an answer, taken apart.
type content struct {
	header http.Header
	values url.Values // the query, or a form
	json   any
	title  string // of an HTML page
}

// question takes a request apart.
func question(x *exchange) content {
	c := content{header: x.req.Header, values: x.req.URL.Query()}
	if strings.HasPrefix(x.req.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		c.values, _ = url.ParseQuery(string(x.sent))
		return c
	}
	c.json = decode(x.sent)
	return c
}

// reply takes an answer apart.
func reply(header http.Header, body []byte) content {
	c := content{header: header}
	switch mediaType, _, _ := strings.Cut(header.Get("Content-Type"), ";"); mediaType {
	case "text/html":
		_, rest, _ := bytes.Cut(body, []byte("<title>"))
		title, _, _ := bytes.Cut(rest, []byte("</title>"))
		c.title = string(title)
	case "text/event-stream":
		for line := range bytes.Lines(body) { // the last message is the answer
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				c.json = decode(data)
			}
		}
	default:
		c.json = decode(body)
	}
	return c
}

func decode(data []byte) (v any) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	_ = dec.Decode(&v)
	return v
}

// rpcMethod returns the JSON-RPC method of a request; empty if it has none.
func rpcMethod(x *exchange) string {
	return question(x).find("method")
}

// find returns the value of a field, as text; empty if there is none. A field is
// a header, a parameter of the query or the form, the title of a page, or a
// path of members in JSON, in this order.
func (c content) find(field string) string {
	switch {
	case c.header.Get(field) != "":
		return c.header.Get(field)
	case c.values.Has(field):
		return strings.Join(c.values[field], ", ")
	case field == "title":
		return c.title
	}
	value := c.json
	for name := range strings.SplitSeq(field, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = object[name]
	}
	return text(value)
}

// text writes a JSON value for people: lists without brackets, and of objects
// in lists only what they are known by.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			if object, ok := item.(map[string]any); ok && object["name"] != nil {
				item = object["name"]
			} else if ok && object["text"] != nil {
				item = object["text"]
			}
			items[i] = text(item)
		}
		return strings.Join(items, ", ")
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(encoded)
}
