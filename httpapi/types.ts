/**
 * The answers of the API, for a front end. The guards are strict: no answer
 * passes two of them, and members that an MCP server adds to a tool's result
 * never make it look like anything else.
 */

export interface ConnectRequest {
  /** A session to connect again; serverUrl may be left out then. */
  sessionId?: string;
  serverUrl?: string;
  callbackUrl?: string;
  serverName?: string;
  /** For the MCP server, such as an API key: names that the host allows. With sessionId they replace all; {} removes them. */
  headers?: Record<string, string>;
  /** Makes a new client registration, for a user who says that the sign-in page shows an error. */
  fresh?: boolean;
}

/** Why the user must authorize. */
export type AuthReason = "first_time" | "expired" | "revoked" | "more_scopes" | "token_rejected" | "requested";

export interface DisconnectRequest {
  sessionId: string;
}

export interface CallToolRequest {
  sessionId: string;
  toolName: string;
  toolArgs?: Record<string, unknown>;
  ask?: AskMode[];
  inputs?: Inputs;
  state?: string;
}

/** How the front end can ask the user what an MCP server wants to know in the middle of a request. */
export type AskMode = "form" | "url";

/** The answers to an InputRequired, by the name of each question. */
export type Inputs = Record<string, { action: "accept" | "decline" | "cancel"; content?: Record<string, unknown> }>;

/**
 * Status 202, only of a request with ask: ask the user, and send the request
 * again with inputs and state. Of a URL show all, ask before it is opened, and
 * open it without an opener.
 */
export interface InputRequired {
  inputRequired: { requests: Record<string, { method: string; params?: Record<string, unknown>; [member: string]: unknown }>; state: string };
}

/**
 * The data of an "input" event: the MCP server asks in the middle of a call that
 * waits. Ask the user, and send the answer to tool/input.
 */
export interface InputAsked {
  inputId: string;
  requests: InputRequired["inputRequired"]["requests"];
}

/** The body of tool/input. */
export interface InputAnswer {
  sessionId: string;
  inputId: string;
  inputs: Inputs;
}

/** The answer of tool/input. */
export interface InputAnswered {
  success: true;
}

export type InputAnswerResponse = InputAnswered | ConnectAuthRequired | ConnectError;

export interface ConnectSuccess {
  success: true;
  sessionId: string;
}

/** Status 401, of any call: open authUrl, then go on with sessionId. */
export interface ConnectAuthRequired {
  requiresAuth: true;
  authUrl: string;
  sessionId?: string;
  /** Names this authorization, for auth/status. */
  attemptId?: string;
  reason?: AuthReason;
  error?: string;
}

/** Every failure of every call. */
export interface ConnectError {
  /** For a person. */
  error: string;
  /** For a program. */
  code: string;
  /** The MCP server's JSON-RPC error code, for codes "mcp_error" and "url_elicitation_required". */
  rpcCode?: number;
  /**
   * The data of that error, as the MCP server sent them. For "url_elicitation_required" they are
   * { elicitations: [{ url, message, elicitationId, … }] }: what the user must open before the request can succeed.
   */
  rpcData?: unknown;
}

export type ConnectResponse = ConnectSuccess | ConnectAuthRequired | ConnectError;

export interface Tool {
  name: string;
  title?: string;
  description?: string;
  inputSchema: Record<string, unknown>;
  outputSchema?: Record<string, unknown>;
  annotations?: Record<string, unknown>;
  _meta?: Record<string, unknown>;
  [member: string]: unknown;
}

export interface ListToolsSuccess {
  tools: Tool[];
  /** Asks for the next page, where the request asked for a page; also in the lists below. */
  nextCursor?: string;
}

export interface Prompt {
  name: string;
  title?: string;
  description?: string;
  arguments?: Array<{ name: string; title?: string; description?: string; required?: boolean; [member: string]: unknown }>;
  [member: string]: unknown;
}

export interface ListPromptsSuccess {
  prompts: Prompt[];
  nextCursor?: string;
}

export type ListPromptsResponse = ListPromptsSuccess | ConnectAuthRequired | ConnectError;

export interface Resource {
  uri: string;
  name: string;
  title?: string;
  description?: string;
  mimeType?: string;
  [member: string]: unknown;
}

export interface ListResourcesSuccess {
  resources: Resource[];
  nextCursor?: string;
}

export type ListResourcesResponse = ListResourcesSuccess | ConnectAuthRequired | ConnectError;

export interface ResourceTemplate {
  uriTemplate: string;
  name: string;
  title?: string;
  description?: string;
  mimeType?: string;
  [member: string]: unknown;
}

export interface ListResourceTemplatesSuccess {
  resourceTemplates: ResourceTemplate[];
  nextCursor?: string;
}

export type ListResourceTemplatesResponse = ListResourceTemplatesSuccess | ConnectAuthRequired | ConnectError;

export interface GetPromptRequest {
  sessionId: string;
  name: string;
  arguments?: Record<string, string>;
  ask?: AskMode[];
  inputs?: Inputs;
  state?: string;
}

export interface GetPromptSuccess {
  description?: string;
  messages: Array<{ role: string; content: unknown; [member: string]: unknown }>;
  [member: string]: unknown;
}

export type GetPromptResponse = GetPromptSuccess | InputRequired | ConnectAuthRequired | ConnectError;

export interface ReadResourceRequest {
  sessionId: string;
  uri: string;
  ask?: AskMode[];
  inputs?: Inputs;
  state?: string;
}

export interface ReadResourceSuccess {
  contents: Array<{ uri: string; mimeType?: string; text?: string; blob?: string; [member: string]: unknown }>;
  [member: string]: unknown;
}

export type ReadResourceResponse = ReadResourceSuccess | InputRequired | ConnectAuthRequired | ConnectError;

export interface CompleteRequest {
  sessionId: string;
  ref: { type: "ref/prompt"; name: string } | { type: "ref/resource"; uri: string };
  argument: { name: string; value: string };
  /** The arguments that are known already. */
  context?: { arguments?: Record<string, string> };
}

export interface CompleteSuccess {
  completion: { values?: string[]; total?: number; hasMore?: boolean; [member: string]: unknown };
  [member: string]: unknown;
}

export type CompleteResponse = CompleteSuccess | ConnectAuthRequired | ConnectError;

/** What the MCP server said of itself. instructions are its text, and not to be trusted. */
export interface ServerInfo {
  protocolVersion: string;
  serverInfo: Record<string, unknown>;
  capabilities: Record<string, unknown>;
  instructions?: string;
}

export type ServerResponse = ServerInfo | ConnectAuthRequired | ConnectError;

export type ListToolsResponse = ListToolsSuccess | ConnectAuthRequired | ConnectError;

export interface CallToolSuccess {
  content: Array<{ type: string; [member: string]: unknown }>;
  /** The tool's own verdict: it ran, and says that it failed. */
  isError: boolean;
  structuredContent?: unknown;
  _meta?: Record<string, unknown>;
  [member: string]: unknown;
}

export type CallToolResponse = CallToolSuccess | InputRequired | ConnectAuthRequired | ConnectError;

/** The data of a "progress" event of tool/call. */
export interface ToolProgress {
  progressToken?: string | number;
  progress: number;
  total?: number;
  message?: string;
}

/** The body of a POST auth/callback as JSON; in a query the names are the same. */
export interface CallbackRequest {
  code?: string;
  state?: string;
  iss?: string;
  error?: string;
  error_description?: string;
  /** If given, must be the session that the state belongs to. */
  sessionId?: string;
}

/** The answer of auth/disconnect, and of auth/callback as JSON. */
export interface Done {
  success: true;
  message: string;
}

export type CallbackResponse = Done | ConnectAuthRequired | ConnectError;

export type DisconnectResponse = Done | ConnectAuthRequired | ConnectError;

export interface SessionStatus {
  sessionId: string;
  status: "authorizing" | "connected" | "authorization_required" | "failed" | "expired";
  serverUrl: string;
  error?: string;
  /** Why the user must authorize, for "authorizing" and "authorization_required". */
  reason?: AuthReason;
  /** RFC 3339. */
  expiresAt: string;
  /** How the authorization stands that the request named with attemptId. */
  attempt?: AttemptStatus;
  /** For since=: another text when the rest is another, but for expiresAt. Only in the answer of auth/status. */
  version?: string;
}

/** The session itself may be connected while its user is away allowing more. */
export interface AttemptStatus {
  status: "pending" | "succeeded" | "failed" | "expired";
  /** "access_denied" or "authorization_failed" for status "failed"; "invalid_callback" for status "pending", when a callback was refused. */
  code?: string;
  error?: string;
}

export type StatusResponse = SessionStatus | ConnectAuthRequired | ConnectError;

export interface SessionSummary extends SessionStatus {
  serverName: string;
  createdAt: string;
  lastUsedAt: string;
}

export interface SessionList {
  sessions: SessionSummary[];
}

export type SessionsResponse = SessionList | ConnectError;

/**
 * What tool/call answers with Accept: text/event-stream: any number of
 * "progress" and, for a request with ask, "input" events, then one "result",
 * "inputRequired" or "error".
 */
export type ToolEvent =
  | { event: "progress"; data: ToolProgress }
  | { event: "input"; data: InputAsked }
  | { event: "result"; data: CallToolSuccess }
  | { event: "inputRequired"; data: InputRequired }
  | { event: "error"; data: ConnectAuthRequired | ConnectError };

/**
 * What the callback page sends to window.opener and on the BroadcastChannel
 * "mcpoauth". Listeners on window check event.origin.
 */
export interface CallbackMessage {
  source: "mcpoauth";
  status: "connected" | "failed";
  /** Of a failure; otherwise empty. */
  code: string;
}

type Members = Record<string, unknown>;

const isObject = (r: unknown): r is Members => typeof r === "object" && r !== null && !Array.isArray(r);
const isText = (v: unknown): v is string => typeof v === "string" && v !== "";
/** Members that MCP servers put into answers. The first that is there decides what an answer is. */
const serverMembers = ["content", "isError", "tools", "prompts", "resources", "resourceTemplates", "messages", "contents", "completion"];
const first = (r: Members): string | undefined => serverMembers.find((member) => member in r);
const fromServer = (r: Members): boolean => first(r) !== undefined;
const isList = (r: unknown, member: string): boolean => isObject(r) && first(r) === member && Array.isArray(r[member]);

export function isConnectSuccess(r: unknown): r is ConnectSuccess {
  return isObject(r) && !fromServer(r) && !("requiresAuth" in r) && r.success === true && !("error" in r) && isText(r.sessionId);
}

/** Also for the answers of tool/list and tool/call. */
export function isConnectAuthRequired(r: unknown): r is ConnectAuthRequired {
  return isObject(r) && !fromServer(r) && r.requiresAuth === true && isText(r.authUrl) && !("success" in r);
}

/** Also for the answers of all other routes. */
export function isConnectError(r: unknown): r is ConnectError {
  return isObject(r) && !fromServer(r) && !("requiresAuth" in r) && !("success" in r) && isText(r.error) && isText(r.code);
}

export function isListToolsSuccess(r: unknown): r is ListToolsSuccess {
  return isList(r, "tools");
}

export function isListPromptsSuccess(r: unknown): r is ListPromptsSuccess {
  return isList(r, "prompts");
}

export function isListResourcesSuccess(r: unknown): r is ListResourcesSuccess {
  return isList(r, "resources");
}

export function isListResourceTemplatesSuccess(r: unknown): r is ListResourceTemplatesSuccess {
  return isList(r, "resourceTemplates");
}

export function isGetPromptSuccess(r: unknown): r is GetPromptSuccess {
  return isList(r, "messages");
}

export function isReadResourceSuccess(r: unknown): r is ReadResourceSuccess {
  return isList(r, "contents");
}

export function isCompleteSuccess(r: unknown): r is CompleteSuccess {
  return isObject(r) && first(r) === "completion" && isObject(r.completion);
}

export function isServerInfo(r: unknown): r is ServerInfo {
  return isObject(r) && !fromServer(r) && isText(r.protocolVersion) && isObject(r.serverInfo);
}

export function isCallToolSuccess(r: unknown): r is CallToolSuccess {
  return isObject(r) && Array.isArray(r.content) && typeof r.isError === "boolean";
}

/** For auth/disconnect and auth/callback. */
export function isDone(r: unknown): r is Done {
  return isObject(r) && !fromServer(r) && r.success === true && !("error" in r) && !("sessionId" in r) && isText(r.message);
}

export function isSessionStatus(r: unknown): r is SessionStatus {
  return isObject(r) && !fromServer(r) && !("success" in r) && !("requiresAuth" in r) && isText(r.sessionId) && isText(r.status) && typeof r.serverUrl === "string";
}

export function isSessionList(r: unknown): r is SessionList {
  return isObject(r) && !fromServer(r) && Array.isArray(r.sessions);
}

/** For the answers of tool/call, prompt/get and resource/read to requests with ask. */
export function isInputRequired(r: unknown): r is InputRequired {
  return isObject(r) && !fromServer(r) && isObject(r.inputRequired) && isObject(r.inputRequired.requests) && isText(r.inputRequired.state);
}

/** For the data of an "input" event. */
export function isInputAsked(r: unknown): r is InputAsked {
  return isObject(r) && !fromServer(r) && isText(r.inputId) && isObject(r.requests);
}

/** For the answer of tool/input. */
export function isInputAnswered(r: unknown): r is InputAnswered {
  return isObject(r) && !fromServer(r) && !("requiresAuth" in r) && r.success === true && !("error" in r) && !("sessionId" in r) && !("message" in r);
}

/** For the data of a "progress" event. */
export function isToolProgress(r: unknown): r is ToolProgress {
  return isObject(r) && !fromServer(r) && typeof r.progress === "number";
}

/** For the data of a message event, whose origin is to be checked first. */
export function isCallbackMessage(r: unknown): r is CallbackMessage {
  return isObject(r) && r.source === "mcpoauth" && (r.status === "connected" || r.status === "failed") && typeof r.code === "string";
}
