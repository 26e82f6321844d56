// An MCP server without sessions, for stacks that bring the checks of tokens
// but no server.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";

/** Answers one request. whoami says who, admin says that it ran. */
export async function serveMCP(request, who) {
  const server = new McpServer({ name: "interop", version: "1.0.0" });
  const text = (text) => ({ content: [{ type: "text", text }] });
  server.registerTool("whoami", { description: "Names the user." }, async () => text(who));
  server.registerTool("admin", { description: "Needs the scope admin." }, async () => text("done as admin"));
  const transport = new WebStandardStreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server.connect(transport);
  return transport.handleRequest(request);
}

/** Reports whether a request calls the tool that needs a scope of its own. */
export async function callsAdmin(request) {
  if (request.method !== "POST") return false;
  const message = await request.clone().json();
  return message.method === "tools/call" && message.params?.name === "admin";
}
