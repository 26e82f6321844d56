// An MCP server made with the TypeScript SDK 2, whose tool asks the user. With
// SESSIONS it serves revision 2025-11-25 with sessions, otherwise 2026-07-28.
import { randomUUID } from "node:crypto";
import { NodeStreamableHTTPServerTransport, toNodeHandler } from "@modelcontextprotocol/node";
import { completable, createMcpHandler, inputRequired, inputResponse, McpServer, ResourceTemplate } from "@modelcontextprotocol/server";
import { z } from "zod";
import { listen } from "./serve.mjs";

const complete = (value) => ["Danish", "Dutch", "Greek"].filter((candidate) => candidate.startsWith(value));
const read = async (uri) => ({ contents: [{ uri: uri.href, mimeType: "text/plain", text: `This is ${uri.href}.` }] });
const text = (text) => ({ content: [{ type: "text", text }] });

function newServer() {
  const server = new McpServer({ name: "interop", version: "1.0.0" }, { instructions: "Be kind." });
  server.registerTool("book", { description: "Asks for how many." }, async (ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, "guests");
    if (answer.kind === "missing") {
      const requestedSchema = z.object({ guests: z.int().min(1) });
      return inputRequired({ inputRequests: { guests: inputRequired.elicit({ message: "How many?", requestedSchema }) } });
    }
    return text(answer.action === "accept" ? `booked ${JSON.stringify(answer.content)}` : `not booked: ${answer.action}`);
  });
  server.registerTool("sign", { description: "Sends the user to a page." }, async (ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, "page");
    if (answer.kind !== "missing") return text(`signed: ${answer.action}`);
    return inputRequired({ inputRequests: { page: inputRequired.elicitUrl({ message: "Sign.", url: "https://sign.example/" }) } });
  });
  server.registerPrompt("greet", { argsSchema: z.object({ language: completable(z.string(), complete) }) }, ({ language }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Greet in ${language}.` } }],
  }));
  server.registerResource("welcome", "docs://welcome", {}, read);
  server.registerResource("page", new ResourceTemplate("docs://{page}", { list: undefined, complete: { page: complete } }), {}, read);
  return server;
}

const sessions = new Map();

async function serveSessions(request, response) {
  let transport = sessions.get(request.headers["mcp-session-id"]);
  if (!transport) {
    transport = new NodeStreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => void sessions.set(id, transport) });
    await newServer().connect(transport);
  }
  await transport.handleRequest(request, response);
}

listen(process.env.SESSIONS ? serveSessions : toNodeHandler(createMcpHandler(newServer, { legacy: "reject" })));
