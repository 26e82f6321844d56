package e2e_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// formHarness builds a form of a schema in the page and fills it in. A step is a
// label and a value, or the text of a button.
const formHarness = `(async () => {
	const [schema, initial, steps] = $INPUT;
	const { buildForm } = await import("/form.js");
	const { format, parse } = await import("/exact.js");
	const form = document.createElement("form");
	document.body.append(form);
	const made = buildForm(parse(schema), initial === "" ? undefined : parse(initial), "This tool takes no arguments.");
	form.append(made.element);
	const begun = form.querySelectorAll("*").length;
	const clean = (text) => text.replace(/\s+/g, " ").trim();
	const enabled = (node) => !node.closest("fieldset[disabled]");
	for (const [name, value] of steps) {
		const label = [...form.querySelectorAll("label")].find((label) => enabled(label) && clean(label.textContent).startsWith(name));
		const field = label?.control ?? form.querySelector("[aria-label=" + JSON.stringify(name) + "]:not(button)");
		const button = [...form.querySelectorAll("button")].find((button) => enabled(button) && clean(button.textContent).startsWith(name));
		if (value === undefined) (button ?? field).click();
		else if (field.tagName === "SELECT") {
			field.value = [...field.options].find((option) => option.text === value).value;
			field.dispatchEvent(new Event("change", { bubbles: true }));
		} else {
			field.value = value;
			field.dispatchEvent(new Event("input", { bubbles: true }));
		}
	}
	const problems = [...form.elements].filter((field) => field.willValidate && !field.validity.valid).map((field) => field.validity.valueMissing ? "missing" : field.validationMessage);
	const sent = problems.length ? "" : JSON.stringify(made.read());
	const text = form.innerText;
	const nodes = form.querySelectorAll("*").length;
	form.remove();
	return { problems, sent, text, begun, nodes };
})()`

type formState struct {
	Problems     []string
	Sent, Text   string
	Begun, Nodes int
}

// buildForm gives formHarness its input.
func buildForm(p *page, schema, initial string, steps ...[]string) formState {
	p.t.Helper()
	quoted := make([]string, len(steps))
	for i, step := range steps {
		parts := make([]string, len(step))
		for j, part := range step {
			parts[j] = quote(part)
		}
		quoted[i] = "[" + strings.Join(parts, ",") + "]"
	}
	input := "[" + quote(schema) + "," + quote(initial) + ",[" + strings.Join(quoted, ",") + "]]"
	return get(p, chromedp.Evaluate[formState](strings.ReplaceAll(formHarness, "$INPUT", input), chromedp.EvalAwaitPromise))
}

// member is a schema of arguments with one member, v.
func member(schema string, required bool) string {
	if required {
		return `{"type":"object","required":["v"],"properties":{"v":` + schema + `}}`
	}
	return `{"type":"object","properties":{"v":` + schema + `}}`
}

// formRow is a schema, what a user does, and what is sent then, or what is wrong.
type formRow struct {
	schema  string
	initial string // of the arguments
	steps   [][]string
	sent    string
	problem string
	shows   string
}

func runFormRows(t *testing.T, rows map[string]formRow) {
	t.Helper()
	w := newWorld(t)
	p := w.open()
	for name, row := range rows {
		got := buildForm(p, row.schema, row.initial, row.steps...)
		if row.problem != "" {
			require.NotEmpty(t, got.Problems, "%s: %s", name, got.Sent)
			require.Contains(t, got.Problems[0], row.problem, name)
		} else {
			require.Empty(t, got.Problems, name)
			require.Equal(t, row.sent, got.Sent, name)
		}
		require.Contains(t, got.Text, row.shows, name)
	}
}

// Limits are JSON Schema's, which are not those of HTML.
func TestFormOfTexts(t *testing.T) {
	v := func(value string) [][]string { return [][]string{{"v", value}} }
	runFormRows(t, map[string]formRow{
		"newlines":                    {schema: member(`{"type":"string"}`, false), steps: v("a\nb"), sent: `{"v":"a\nb"}`},
		"pattern is unanchored":       {schema: member(`{"type":"string","pattern":"b+"}`, false), steps: v("abc"), sent: `{"v":"abc"}`, shows: "Pattern: b+"},
		"pattern with anchors":        {schema: member(`{"type":"string","pattern":"^b+$"}`, false), steps: v("abc"), problem: "does not match the pattern ^b+$"},
		"pattern in a long text":      {schema: member(`{"type":"string","pattern":"^b+$","maxLength":9000}`, false), steps: v("abc"), problem: "pattern"},
		"pattern without Unicode":     {schema: member(`{"type":"string","pattern":"^[\\w-.]+$"}`, false), steps: v("a-b"), sent: `{"v":"a-b"}`},
		"pattern that takes for ever": {schema: member(`{"type":"string","pattern":"^((\\w+\\s?)*)$"}`, false), steps: v(strings.Repeat("a", 60) + "!"), sent: `{"v":"` + strings.Repeat("a", 60) + `!"}`, shows: "Pattern: ^"},
		"pattern with bounded parts":  {schema: member(`{"type":"string","pattern":"^(\\d{1,3}\\.){3}\\d+$"}`, false), steps: v("1.2.3"), problem: "pattern"},
		"pattern that is none":        {schema: member(`{"type":"string","pattern":"("}`, false), steps: v("abc"), sent: `{"v":"abc"}`, shows: "Pattern: ("},
		"length in characters":        {schema: member(`{"type":"string","maxLength":2}`, false), steps: v("😀😀"), sent: `{"v":"😀😀"}`},
		"too long is not cut":         {schema: member(`{"type":"string","maxLength":2}`, false), steps: v("abc"), problem: "At most 2 characters. This has 3 characters."},
		"huge minLength":              {schema: member(`{"type":"string","minLength":1e9}`, false), steps: v("abc"), problem: "At least 1,000,000,000 characters."},
		"huge minLength, left out":    {schema: member(`{"type":"string","minLength":1e9}`, false), sent: `{}`},
		"maxLength beyond 2^53":       {schema: member(`{"type":"string","maxLength":9223372036854775807}`, false), steps: v("abc"), sent: `{"v":"abc"}`},
		"e-mail with other letters":   {schema: member(`{"type":"string","format":"email"}`, false), steps: v("jürg@bücher.example"), sent: `{"v":"jürg@bücher.example"}`},
		"relative address":            {schema: member(`{"type":"string","format":"uri"}`, false), steps: v("/a b"), sent: `{"v":"/a b"}`},
		"date that is none":           {schema: member(`{"type":"string","format":"date","default":"today"}`, true), sent: `{"v":"today"}`},
		"left empty":                  {schema: member(`{"type":"string"}`, false), sent: `{}`},
		"empty text":                  {schema: member(`{"type":"string"}`, false), steps: [][]string{{"When v is empty", "Empty: empty text"}}, sent: `{"v":""}`},
		"required, left empty":        {schema: member(`{"type":"string"}`, true), problem: "missing"},
		"required, empty text":        {schema: member(`{"type":"string"}`, true), steps: [][]string{{"When v is empty", "Empty: empty text"}}, sent: `{"v":""}`},
		"null or text":                {schema: member(`{"type":["string","null"]}`, true), sent: `{"v":null}`},
		"null or text, with text":     {schema: member(`{"type":["string","null"]}`, true), steps: v("x"), sent: `{"v":"x"}`},
		"null or text, left out":      {schema: member(`{"type":["string","null"]}`, false), sent: `{}`},
		"null or text, null":          {schema: member(`{"type":["string","null"]}`, false), steps: [][]string{{"When v is empty", "Empty: null"}}, sent: `{"v":null}`},
		"null by anyOf":               {schema: member(`{"anyOf":[{"type":"string","minLength":1},{"type":"null"}]}`, true), sent: `{"v":null}`},
		"default":                     {schema: member(`{"type":"string","default":"d"}`, false), sent: `{"v":"d"}`},
		"default taken away":          {schema: member(`{"type":"string","default":"d"}`, false), steps: v(""), sent: `{}`},
		"default of another type":     {schema: member(`{"type":"string","default":{"a":1}}`, false), sent: `{}`},
		"default null":                {schema: member(`{"type":["string","null"],"default":null}`, false), sent: `{}`},
		"default is not put back":     {schema: member(`{"type":"string","default":"d"}`, false), initial: `{}`, sent: `{}`},
		"empty values come back":      {schema: `{"type":"object","properties":{"s":{"type":"string"},"l":{"type":"array","items":{"type":"string"}},"n":{"type":["integer","null"]}}}`, initial: `{"s":"","l":[],"n":null}`, sent: `{"s":"","l":[],"n":null}`},
		"another type comes back":     {schema: member(`{"type":"string"}`, false), initial: `{"v":[5]}`, sent: `{"v":[5]}`},
		"line ends come back":         {schema: member(`{"type":"string"}`, false), initial: `{"v":"a\r\nb"}`, sent: `{"v":"a\r\nb"}`},
		"lines in a line come back":   {schema: member(`{"type":"string","format":"uri"}`, false), initial: `{"v":"a\nb"}`, sent: `{"v":"a\nb"}`},
		"no date comes back":          {schema: member(`{"type":"string","format":"date"}`, false), initial: `{"v":"2026-02-31"}`, sent: `{"v":"2026-02-31"}`},
		"unknown members come back":   {schema: member(`{"type":"string"}`, false), initial: `{"v":"x","w":{"a":null}}`, sent: `{"v":"x","w":{"a":null}}`},
		"name from the language":      {schema: `{"type":"object","properties":{"__proto__":{"type":"string"},"constructor":{"type":"string"}}}`, steps: [][]string{{"__proto__", "a"}, {"constructor", "b"}}, sent: `{"__proto__":"a","constructor":"b"}`},
		"long name without a space":   {schema: `{"type":"object","properties":{"` + strings.Repeat("n", 500) + `":{"type":"string"}}}`, steps: [][]string{{"nnn", "a"}}, sent: `{"` + strings.Repeat("n", 500) + `":"a"}`},
		"name from right to left":     {schema: "{\"type\":\"object\",\"properties\":{\"\u202eeman\":{\"type\":\"string\",\"title\":\"\u202eeman\"}}}", steps: [][]string{{"\u202eeman", "a"}}, sent: "{\"\u202eeman\":\"a\"}"},
		"examples that are no list":   {schema: member(`{"type":"string","examples":"abc","minLength":"x","pattern":5,"title":{},"description":7}`, false), sent: `{}`},
		"type that is none":           {schema: member(`{"type":"constructor"}`, false), steps: v("1"), sent: `{"v":1}`},
		"required that is no list":    {schema: `{"type":"object","required":{"v":true},"properties":{"v":{"type":"string"},"w":null,"x":5}}`, sent: `{}`},
		"keywords that are no values": {schema: member(`{"enum":5,"anyOf":{},"oneOf":"x","allOf":7,"$ref":9,"items":3,"properties":4,"type":8}`, false), sent: `{}`},
	})
}

// Every number that the schema allows can be sent, exactly.
func TestFormOfNumbers(t *testing.T) {
	v := func(value string) [][]string { return [][]string{{"v", value}} }
	runFormRows(t, map[string]formRow{
		"multipleOf with minimum":        {schema: member(`{"type":"integer","minimum":3,"multipleOf":5}`, false), steps: v("10"), sent: `{"v":10}`, shows: "At least 3. A multiple of 5."},
		"no multiple":                    {schema: member(`{"type":"integer","minimum":3,"multipleOf":5}`, false), steps: v("8"), problem: "multiple of 5"},
		"multiple that binary rounds":    {schema: member(`{"type":"number","multipleOf":0.01}`, false), steps: v("0.07"), sent: `{"v":0.07}`},
		"multipleOf zero":                {schema: member(`{"type":"number","multipleOf":0}`, false), steps: v("0.07"), sent: `{"v":0.07}`},
		"integer from a broken minimum":  {schema: member(`{"type":"integer","minimum":0.5}`, false), steps: v("1"), sent: `{"v":1}`},
		"not whole":                      {schema: member(`{"type":"integer"}`, false), steps: v("1.5"), problem: "whole number"},
		"exclusiveMinimum":               {schema: member(`{"type":"number","exclusiveMinimum":0}`, false), steps: v("0"), problem: "More than 0.", shows: "More than 0."},
		"above exclusiveMinimum":         {schema: member(`{"type":"number","exclusiveMinimum":0}`, false), steps: v("0.1"), sent: `{"v":0.1}`},
		"exclusiveMaximum":               {schema: member(`{"type":"number","exclusiveMaximum":1}`, false), steps: v("1"), problem: "Less than 1."},
		"exclusiveMinimum of draft 4":    {schema: member(`{"type":"number","minimum":0,"exclusiveMinimum":true}`, false), steps: v("1"), sent: `{"v":1}`},
		"64 bits":                        {schema: member(`{"type":"integer","minimum":-9223372036854775808,"maximum":9223372036854775807}`, false), steps: v("9223372036854775807"), sent: `{"v":9223372036854775807}`},
		"one more than 64 bits":          {schema: member(`{"type":"integer","maximum":9223372036854775807}`, false), steps: v("9223372036854775808"), problem: "At most 9223372036854775807."},
		"64 bits come back":              {schema: member(`{"type":"integer"}`, false), initial: `{"v":9007199254740993}`, sent: `{"v":9007199254740993}`},
		"beyond every double comes back": {schema: member(`{"type":"number"}`, false), initial: `{"v":1e400}`, sent: `{"v":1e400}`},
		"more digits than a double":      {schema: member(`{"type":"number"}`, false), steps: v("0.12345678901234567891"), sent: `{"v":0.12345678901234567891}`},
		"nullable":                       {schema: member(`{"type":"integer","nullable":true}`, true), sent: `{"v":null}`},
		"nullable boolean":               {schema: member(`{"type":["boolean","null"]}`, true), steps: v("null"), sent: `{"v":null}`},
		"optional constant":              {schema: member(`{"const":true}`, false), sent: `{}`},
		"required constant":              {schema: member(`{"const":true}`, true), sent: `{"v":true}`},
		"enum of several types":          {schema: member(`{"enum":[1,"1",null,{"a":1}]}`, true), steps: v(`{"a":1}`), sent: `{"v":{"a":1}}`},
		"enum with null beside":          {schema: member(`{"anyOf":[{"enum":["a","b"]},{"type":"null"}]}`, true), steps: v("null"), sent: `{"v":null}`},
		"value outside of the enum":      {schema: member(`{"enum":["a"]}`, false), initial: `{"v":"z"}`, sent: `{"v":"z"}`},
		"constants with titles by anyOf": {schema: member(`{"anyOf":[{"const":1,"title":"Low"},{"enum":[2],"title":"High"}]}`, true), steps: v("High"), sent: `{"v":2}`},
	})
}

// References and combined schemas become fields, and what
// no field can express becomes JSON.
func TestFormOfCombinations(t *testing.T) {
	const pets = `{"type":"object","$defs":{"Cat":{"type":"object","title":"Cat","required":["kind","lives"],"properties":{"kind":{"const":"cat"},"lives":{"type":"integer"}}},
		"Dog":{"type":"object","title":"Dog","required":["kind"],"properties":{"kind":{"const":"dog"},"bark":{"type":"string"}}}},
		"required":["pet"],"properties":{"pet":{"oneOf":[{"$ref":"#/$defs/Cat"},{"$ref":"#/$defs/Dog"}]}}}`
	const either = `{"type":"object","properties":{"n":{"type":"string"}},"oneOf":[{"required":["a"],"properties":{"a":{"type":"string"}}},{"required":["b"],"properties":{"b":{"type":"string"}}}]}`
	cycle := func(schema string) string {
		return `{"type":"object","$defs":{"A":` + schema + `,"B":{"$ref":"#/$defs/A"}},"properties":{"v":{"$ref":"#/$defs/A"}}}`
	}
	runFormRows(t, map[string]formRow{
		"reference":                        {schema: `{"type":"object","$defs":{"S":{"type":"string"}},"properties":{"v":{"$ref":"#/$defs/S"}}}`, steps: [][]string{{"v", "x"}}, sent: `{"v":"x"}`},
		"reference with siblings":          {schema: `{"type":"object","$defs":{"S":{"type":"string","title":"S"}},"properties":{"v":{"$ref":"#/$defs/S","title":"Mine","minLength":3}}}`, steps: [][]string{{"Mine", "x"}}, problem: "At least 3"},
		"reference of the whole":           {schema: `{"$ref":"#/$defs/R","$defs":{"R":{"type":"object","properties":{"v":{"type":"string"}}}}}`, steps: [][]string{{"v", "x"}}, sent: `{"v":"x"}`},
		"reference with a stray %":         {schema: `{"type":"object","$defs":{"100%":{"type":"string"}},"properties":{"v":{"$ref":"#/$defs/100%"}}}`, steps: [][]string{{"v", "x"}}, sent: `{"v":"x"}`},
		"reference to an anchor":           {schema: `{"type":"object","properties":{"v":{"$ref":"#S"}}}`, steps: [][]string{{"v", "1"}}, sent: `{"v":1}`},
		"reference elsewhere":              {schema: member(`{"$ref":"https://other.example/schema"}`, false), steps: [][]string{{"v", "1"}}, sent: `{"v":1}`},
		"cycle":                            {schema: cycle(`{"$ref":"#/$defs/B"}`), steps: [][]string{{"v", "1"}}, sent: `{"v":1}`},
		"cycle by allOf":                   {schema: cycle(`{"allOf":[{"$ref":"#/$defs/B"},{"$ref":"#/$defs/A"},{"type":"string"}]}`), steps: [][]string{{"v", "x"}}, sent: `{"v":"x"}`},
		"cycle by oneOf":                   {schema: cycle(`{"oneOf":[{"$ref":"#/$defs/B"},{"type":"null"}]}`), steps: [][]string{{"v", "1"}}, sent: `{"v":1}`},
		"cycle by anyOf":                   {schema: cycle(`{"anyOf":[{"$ref":"#/$defs/B"},{"type":"string"}]}`), initial: `{"v":"x"}`, sent: `{"v":"x"}`},
		"cycle of the whole":               {schema: `{"$ref":"#"}`, sent: `{}`},
		"variants":                         {schema: pets, steps: [][]string{{"pet", "Cat"}, {"lives", "9"}}, sent: `{"pet":{"kind":"cat","lives":9}}`},
		"other variant":                    {schema: pets, steps: [][]string{{"pet", "Cat"}, {"pet", "Dog"}, {"bark", "wow"}}, sent: `{"pet":{"kind":"dog","bark":"wow"}}`},
		"variant of a value":               {schema: pets, initial: `{"pet":{"kind":"dog","bark":"wow"}}`, sent: `{"pet":{"kind":"dog","bark":"wow"}}`},
		"value of no variant":              {schema: pets, initial: `{"pet":{"kind":"cow"}}`, sent: `{"pet":{"kind":"cow"}}`},
		"null that no variant has":         {schema: pets, initial: `{"pet":null}`, sent: `{"pet":null}`},
		"variants of the whole":            {schema: either, steps: [][]string{{"Arguments", "with b"}, {"b", "x"}, {"n", "y"}}, sent: `{"n":"y","b":"x"}`},
		"several types":                    {schema: member(`{"type":["string","integer","null"]}`, true), steps: [][]string{{"v", "integer"}, {"integer", "5"}}, sent: `{"v":5}`},
		"several types, null":              {schema: member(`{"type":["string","integer","null"]}`, true), steps: [][]string{{"v", "null"}}, sent: `{"v":null}`},
		"allOf":                            {schema: `{"allOf":[{"type":"object","required":["a"],"properties":{"a":{"type":"string"}}},{"properties":{"a":{"minLength":2},"b":{"type":"integer"}}}]}`, steps: [][]string{{"a", "xy"}, {"b", "1"}}, sent: `{"a":"xy","b":1}`},
		"anything":                         {schema: member(`true`, false), steps: [][]string{{"v", `[1]`}}, sent: `{"v":[1]}`},
		"nothing":                          {schema: member(`false`, false), sent: `{}`},
		"whole schema true":                {schema: `true`, sent: `{}`},
		"other members":                    {schema: `{"type":"object","properties":{"v":{"type":"string"}},"additionalProperties":{"type":"integer"}}`, steps: [][]string{{"Other members", `{"x":1}`}}, sent: `{"x":1}`},
		"required member without a schema": {schema: `{"type":"object","properties":{},"required":["x"]}`, steps: [][]string{{"Other members", `{"x":1}`}}, sent: `{"x":1}`},
		"list of a fixed form":             {schema: member(`{"type":"array","prefixItems":[{"type":"integer"}]}`, false), steps: [][]string{{"v", `[1,"a"]`}}, sent: `{"v":[1,"a"]}`},
		"no list in a list's field":        {schema: member(`{"type":"array"}`, false), steps: [][]string{{"v", `{}`}}, problem: "list, in brackets"},
		"optional list with minItems":      {schema: member(`{"type":"array","items":{"type":"string"},"minItems":2}`, false), sent: `{}`},
		"list with minItems, begun":        {schema: member(`{"type":"array","items":{"type":"string"},"minItems":2}`, false), steps: [][]string{{"Add v"}, {"v 1", "a"}, {"v 2", "b"}}, sent: `{"v":["a","b"]}`},
		"list with minItems, left out":     {schema: member(`{"type":"array","items":{"type":"string"},"minItems":2}`, false), steps: [][]string{{"Add v"}, {"Leave out"}}, sent: `{}`},
		"required list, left empty":        {schema: member(`{"type":"array","items":{"type":"string"}}`, true), sent: `{"v":[]}`},
		"required choices, left empty":     {schema: member(`{"type":"array","items":{"enum":["a","b"]}}`, true), sent: `{"v":[]}`},
		"required choices, too few":        {schema: member(`{"type":"array","minItems":1,"items":{"enum":["a","b"]}}`, true), problem: "Choose 1 to 2."},
		"optional choices with minItems":   {schema: member(`{"type":"array","minItems":1,"items":{"enum":["a","b"]}}`, false), sent: `{}`},
		"empty list":                       {schema: member(`{"type":"array","items":{"type":"string"}}`, false), steps: [][]string{{"When v is empty", "Empty: empty list"}}, sent: `{"v":[]}`},
		"huge minItems":                    {schema: member(`{"type":"array","items":{"type":"string"},"minItems":1e9}`, true), steps: [][]string{{"v", `["a"]`}}, sent: `{"v":["a"]}`},
		"huge minItems of constants":       {schema: member(`{"type":"array","items":{"enum":["a","b"]},"minItems":1e9}`, false), sent: `{}`},
		"maxItems beyond 2^53":             {schema: member(`{"type":"array","items":{"type":"string"},"maxItems":9223372036854775807}`, false), steps: [][]string{{"Add v"}, {"v 1", "a"}}, sent: `{"v":["a"]}`},
		"optional object":                  {schema: member(`{"type":"object","required":["x"],"properties":{"x":{"type":"integer"}}}`, false), sent: `{}`},
		"optional object, opened":          {schema: member(`{"type":"object","required":["x"],"properties":{"x":{"type":"integer"}}}`, false), steps: [][]string{{"v"}, {"x", "1"}}, sent: `{"v":{"x":1}}`},
		"required object or null":          {schema: member(`{"type":["object","null"],"properties":{"x":{"type":"integer"}}}`, true), sent: `{"v":null}`},
	})
}

// What a form is made of is bounded, whatever the schema.
func TestFormStaysSmall(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	values := `["v0"` + strings.Repeat(`,"w"`, 4998) + `,"v4999"]`
	var fields, wide, doubled strings.Builder
	for i := range 20 {
		fields.WriteString(`,"f` + string(rune('a'+i)) + `":{"$ref":"#/$defs/E"}`)
	}
	for i := range 5000 {
		wide.WriteString(`,"p` + strconv.Itoa(i) + `":{"type":"string"}`)
	}
	for i := range 60 {
		doubled.WriteString(`,"D` + strconv.Itoa(i) + `":{"allOf":[{"$ref":"#/$defs/D` + strconv.Itoa(i+1) + `"},{"$ref":"#/$defs/D` + strconv.Itoa(i+1) + `"}]}`)
	}
	deep := `{"type":"string"}`
	for range 5 {
		var members, names []string
		for i := range 8 {
			members = append(members, `"m`+strconv.Itoa(i)+`":`+deep)
			names = append(names, `"m`+strconv.Itoa(i)+`"`)
		}
		deep = `{"type":"object","required":[` + strings.Join(names, ",") + `],"properties":{` + strings.Join(members, ",") + `}}`
	}
	node := `{"type":"object","properties":{"v":{"$ref":"#/$defs/N"}},"$defs":{"N":{"type":"object","required":["left","list"],"properties":{
		"left":{"$ref":"#/$defs/N"},"right":{"$ref":"#/$defs/N"},"list":{"type":"array","minItems":3,"items":{"$ref":"#/$defs/N"}}}}}}`
	for name, row := range map[string]struct {
		schema       string
		steps        [][]string
		begun, nodes int
	}{
		"recursion":             {`{"type":"object","properties":{"v":{"$ref":"#"},"w":{"$ref":"#"},"x":{"$ref":"#"},"l":{"type":"array","items":{"$ref":"#"}}}}`, [][]string{{"v"}}, 100, 200},
		"recursion that must":   {node, [][]string{{"v"}}, 50, 15_000},
		"deep and wide":         {deep, nil, 30_000, 30_000},
		"5,000 members":         {`{"type":"object","properties":{"a":{}` + wide.String() + `}}`, [][]string{{"Show more fields (4,901)"}}, 1500, 3000},
		"enum of 5,000":         {`{"type":"object","$defs":{"E":{"enum":` + values + `}},"properties":{"a":{}` + fields.String() + `}}`, [][]string{{"fa", "v4999"}}, 300, 300},
		"list of 5,000":         {member(`{"type":"array","items":{"enum":`+values+`}}`, true), [][]string{{"Add v"}, {"v 1", "v4999"}}, 50, 50},
		"parts that multiply":   {`{"type":"object","$defs":{"Z":{}` + doubled.String() + `},"properties":{"v":{"$ref":"#/$defs/D0"}}}`, nil, 50, 50},
		"minItems of lists":     {member(`{"type":"array","minItems":50,"items":{"type":"array","minItems":50,"items":{"type":"array","minItems":50,"items":{"type":"string"}}}}`, true), nil, 12_000, 12_000},
		"maxLength, 2^63 bytes": {member(`{"type":"string","minLength":9223372036854775807,"maxLength":9223372036854775807}`, false), nil, 30, 30},
	} {
		got := buildForm(p, row.schema, "", row.steps...)
		require.LessOrEqual(t, got.Begun, row.begun, name)
		require.LessOrEqual(t, got.Nodes, row.nodes, name)
	}
}
