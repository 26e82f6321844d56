// A front end as it was written for the TypeScript original of this API, with
// nothing of it changed: answers are read by the guards, or by response.ok.

import {
  isCallToolSuccess, isConnectAuthRequired, isConnectError, isConnectSuccess, isListToolsSuccess,
  type CallToolResponse, type ConnectResponse, type ListToolsResponse, type Tool,
} from "../../httpapi/types.js";

const api = "/api/mcp";

async function post<T>(path: string, body: object): Promise<T> {
  const response = await fetch(api + path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

/** Resolves when the popup is closed: the user is done there. */
async function popupClosed(popup: Window | null): Promise<void> {
  while (popup && !popup.closed) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function connect(serverUrl: string): Promise<string> {
  const answer = await post<ConnectResponse>("/auth/connect", { serverUrl, callbackUrl: location.origin + api + "/auth/callback" });
  if (isConnectSuccess(answer)) return answer.sessionId;
  if (isConnectAuthRequired(answer)) {
    await popupClosed(window.open(answer.authUrl, "oauth", "width=600,height=700"));
    return answer.sessionId ?? "";
  }
  if (isConnectError(answer)) throw new Error(answer.error);
  throw new Error("unexpected answer");
}

async function listTools(sessionId: string): Promise<Tool[]> {
  const response = await fetch(`${api}/tool/list?sessionId=${sessionId}`);
  const answer: ListToolsResponse = await response.json();
  if (isListToolsSuccess(answer)) return answer.tools;
  throw new Error(isConnectError(answer) ? answer.error : "unexpected answer");
}

/** All of it, by the guards. Returns the text of the tool's result. */
export async function byGuards(serverUrl: string): Promise<string> {
  const sessionId = await connect(serverUrl);
  const tool = (await listTools(sessionId)).find((tool) => tool.name === "echo");
  if (!tool) throw new Error("the tool is missing");
  const answer = await post<CallToolResponse>("/tool/call", { sessionId, toolName: tool.name, toolArgs: { q: "x" } });
  if (!isCallToolSuccess(answer)) throw new Error("the call failed");
  const done = await post<{ success: boolean; message: string }>("/auth/disconnect", { sessionId });
  if (!done.success) throw new Error("the disconnect failed");
  const after = await fetch(`${api}/tool/list?sessionId=${sessionId}`).then((response) => response.json());
  if (!isConnectError(after)) throw new Error("the session goes on");
  return JSON.stringify(answer.content);
}

/** All of it, by response.ok and plain members. */
export async function byStatus(serverUrl: string): Promise<string> {
  const send = (path: string, body: object) =>
    fetch(api + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

  const response = await send("/auth/connect", { serverUrl });
  const { requiresAuth, authUrl, sessionId } = await response.json();
  if (!response.ok && !requiresAuth) throw new Error("the connect failed");
  if (requiresAuth) await popupClosed(window.open(authUrl));

  const list = await fetch(api + "/tool/list?sessionId=" + encodeURIComponent(sessionId));
  if (!list.ok) throw new Error((await list.json()).error);
  const { tools } = await list.json();
  if (!tools.length) throw new Error("there are no tools");

  const call = await send("/tool/call", { sessionId, toolName: "echo", toolArgs: { q: "x" } });
  if (!call.ok) throw new Error((await call.json()).error);
  const { content } = await call.json();

  const unknown = await send("/tool/call", { sessionId, toolName: "no such tool", toolArgs: {} });
  if (unknown.ok || !(await unknown.json()).error) throw new Error("a mistake went unnoticed");

  if (!(await send("/auth/disconnect", { sessionId })).ok) throw new Error("the disconnect failed");
  return JSON.stringify(content);
}
