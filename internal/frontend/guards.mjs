// Asks every guard of types.ts, as it was compiled, about every answer recorded,
// and about the table of httpapi/guards_test.go.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as types from "../../httpapi/types.js";

const guards = {
  connect: types.isConnectSuccess, auth: types.isConnectAuthRequired, error: types.isConnectError, list: types.isListToolsSuccess,
  call: types.isCallToolSuccess, done: types.isDone, status: types.isSessionStatus, sessions: types.isSessionList, progress: types.isToolProgress,
  prompts: types.isListPromptsSuccess, resources: types.isListResourcesSuccess, templates: types.isListResourceTemplatesSuccess,
  prompt: types.isGetPromptSuccess, resource: types.isReadResourceSuccess, completion: types.isCompleteSuccess, server: types.isServerInfo, input: types.isInputRequired,
  asked: types.isInputAsked, answered: types.isInputAnswered,
};
const seen = new Set();
for (const { want, of, body } of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const passed = Object.keys(guards).filter((name) => of.includes(name) && guards[name](JSON.parse(body)));
  assert.deepEqual(passed, want ? [want] : [], body);
  seen.add(want);
}
assert.deepEqual(Object.keys(guards).filter((name) => !seen.has(name)), [], "no answer was recorded for these guards");

for (const [message, want] of [
  [{ source: "mcpoauth", status: "connected", code: "" }, true], [{ source: "mcpoauth", status: "failed", code: "access_denied" }, true],
  [{ source: "other", status: "connected", code: "" }, false], [{ source: "mcpoauth", status: "?", code: "" }, false], ["mcpoauth", false], [null, false],
]) assert.equal(types.isCallbackMessage(message), want);
