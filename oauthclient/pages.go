package oauthclient

import (
	"context"
	"encoding/json"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// List names one of the lists of a server, as the member of its pages does.
type List string

// The lists.
const (
	ListTools             List = "tools"
	ListPrompts           List = "prompts"
	ListResources         List = "resources"
	ListResourceTemplates List = "resourceTemplates"
)

// method returns the MCP method that lists it.
func (l List) method() string {
	if l == ListResourceTemplates {
		return "resources/templates/list"
	}
	return string(l) + "/list"
}

// Page is one page of a list.
type Page struct {
	// Items are the elements as the server sent them.
	Items []json.RawMessage
	// NextCursor asks for the next page; empty on the last one.
	NextCursor string
}

// ListPage returns one page of a list; an empty cursor asks for the first. Tools
// are left out as in [MCPOAuthClient.ListTools], whose errors it returns.
func (c *MCPOAuthClient) ListPage(ctx context.Context, list List, cursor string) (page Page, err error) {
	var params json.RawMessage
	if cursor != "" {
		if params, err = json.Marshal(map[string]string{"cursor": cursor}); err != nil {
			return Page{}, err
		}
	}
	err = c.do(ctx, "listing a page of "+string(list), c.newOp(), func(ctx context.Context, op *operation) error {
		raw, err := op.request(ctx, wire.Request{Method: list.method(), Params: params})
		if err != nil {
			return err
		}
		page = Page{NextCursor: stringMember(raw, "nextCursor")}
		modern := op.connection.conn().Version >= modernVersion
		wire.Members(raw, func(name, value []byte) {
			if string(name) != string(list) {
				return
			}
			wire.Elements(value, func(item []byte) {
				if list == ListTools && modern {
					if _, err := wire.ToolHeaders(item); err != nil {
						return
					}
				}
				page.Items = append(page.Items, item)
			})
		})
		if len(page.Items) > c.cfg.MaxTools {
			return &ResponseLimitError{Limit: "MaxTools"}
		}
		return nil
	})
	return page, err
}
