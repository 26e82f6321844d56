package session

import (
	"encoding/json"
	"maps"
	"regexp/syntax"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// InvalidInputError is a mistake in an answer to an [OpenInput], which stays open. It matches [ErrInvalidInput].
type InvalidInputError struct {
	// Field is the member of the form that does not fit its schema; empty if the
	// answer as a whole is wrong. It is the server's text.
	Field string
	// Reason is a text for people, without the answer.
	Reason string
}

func (e *InvalidInputError) Error() string { return "session: invalid answer: " + e.Reason }

// Unwrap returns [ErrInvalidInput].
func (e *InvalidInputError) Unwrap() error { return ErrInvalidInput }

// check returns the elicitation result that a server gets for inputs.
func (r *inputRecord) check(inputs json.RawMessage) (json.RawMessage, error) {
	var answers map[string]struct {
		Action  string          `json:"action"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(inputs, &answers) != nil || len(answers) != 1 {
		return nil, &InvalidInputError{Reason: "it does not answer the question"}
	}
	answer, ok := answers[inputName]
	switch {
	case !ok:
		return nil, &InvalidInputError{Reason: "it does not answer the question"}
	case answer.Action == "decline", answer.Action == "cancel", answer.Action == "accept" && !r.Form:
		return json.Marshal(map[string]string{"action": answer.Action})
	case answer.Action != "accept":
		return nil, &InvalidInputError{Reason: "the action is unknown"}
	}
	content, err := fillForm(r.Schema, answer.Content)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"action": "accept", "content": content})
}

// formSchema is the flat schema of a form.
type formSchema struct {
	Properties map[string]json.RawMessage `json:"properties"`
	Required   []string                   `json:"required"`
}

// formField has the keywords of the specification for a member of a form. Others
// stay out: a schema is the server's, and references or combinations in it could
// make checking expensive. The server itself checks the formats of texts.
type formField struct {
	Type      string       `json:"type,omitempty"`
	Enum      []any        `json:"enum,omitempty"`
	OneOf     []formOption `json:"oneOf,omitempty"`
	AnyOf     []formOption `json:"anyOf,omitempty"`
	Pattern   string       `json:"pattern,omitempty"`
	MinLength *int         `json:"minLength,omitempty"`
	MaxLength *int         `json:"maxLength,omitempty"`
	Minimum   *float64     `json:"minimum,omitempty"`
	Maximum   *float64     `json:"maximum,omitempty"`
	MinItems  *int         `json:"minItems,omitempty"`
	MaxItems  *int         `json:"maxItems,omitempty"`
	Items     *formItems   `json:"items,omitempty"`
}

// formItems is the schema of the elements of a choice of several.
type formItems struct {
	Type  string       `json:"type,omitempty"`
	Enum  []any        `json:"enum,omitempty"`
	AnyOf []formOption `json:"anyOf,omitempty"`
	OneOf []formOption `json:"oneOf,omitempty"`
}

// formOption is one option of a choice.
type formOption struct {
	Const any `json:"const"`
}

// Bounds of checking one form, because its schema is the server's.
const (
	// maxFormWork is in comparisons of an option with a byte of the answer, about
	// 0.1 s in all.
	maxFormWork = 1 << 18
	// maxPattern bounds a pattern. Its program can be 100 times as long.
	maxPattern = 512
)

// fillForm checks the content of a form against its schema, and returns it with
// the defaults of missing members (SEP-1034). The server itself checks parts of the
// schema that this package cannot read, or whose check takes too long.
func fillForm(schema, content json.RawMessage) (map[string]json.RawMessage, error) {
	var form formSchema
	work := maxFormWork
	_ = json.Unmarshal(schema, &form)
	filled := make(map[string]json.RawMessage)
	if len(content) > 0 && json.Unmarshal(content, &filled) != nil || filled == nil {
		return nil, &InvalidInputError{Reason: "the content is no object"}
	}
	for _, name := range slices.Sorted(maps.Keys(form.Properties)) {
		var property struct {
			Default json.RawMessage `json:"default"`
		}
		raw := form.Properties[name]
		value, given := filled[name]
		if !given {
			if json.Unmarshal(raw, &property) == nil && len(property.Default) > 0 {
				filled[name] = property.Default
			}
			continue
		}
		if !fits(raw, value, &work) {
			return nil, &InvalidInputError{Field: name, Reason: "a member does not fit its schema"}
		}
	}
	for _, name := range form.Required {
		if _, given := filled[name]; !given {
			return nil, &InvalidInputError{Field: name, Reason: "a required member is missing"}
		}
	}
	return filled, nil
}

// cost returns the work of comparing a value with the options and the pattern of
// its schema.
func (f *formField) cost(value json.RawMessage) int {
	options := len(f.Enum) + len(f.OneOf) + len(f.AnyOf)
	if f.Items != nil {
		options += len(f.Items.Enum) + len(f.Items.OneOf) + len(f.Items.AnyOf)
	}
	cost := options * len(value)
	switch {
	case f.Pattern == "":
		return cost
	case len(f.Pattern) > maxPattern:
		return maxFormWork + 1
	}
	parsed, err := syntax.Parse(f.Pattern, syntax.Perl)
	if err != nil {
		return cost // Resolve will not take it
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return cost
	}
	const steps = 16 // of a program, in the time of a comparison
	return cost + len(program.Inst)*len(value)/steps
}

// fits reports whether a value fits the schema of a member, or cannot be checked
// with the work that is left.
func fits(schema, value json.RawMessage, work *int) bool {
	var field formField
	if *work < 0 || json.Unmarshal(schema, &field) != nil {
		return true
	}
	if *work -= field.cost(value); *work < 0 {
		return true
	}
	flat, err := json.Marshal(field)
	if err != nil {
		return true
	}
	var check jsonschema.Schema
	if json.Unmarshal(flat, &check) != nil {
		return true
	}
	resolved, err := check.Resolve(nil)
	if err != nil {
		return true
	}
	var instance any
	if json.Unmarshal(value, &instance) != nil {
		return false
	}
	return resolved.Validate(instance) == nil
}
