// Runs journey.ts, as it was compiled, against the live servers.
import assert from "node:assert/strict";
import { MCP, user } from "./browser.mjs";
import { byGuards, byStatus } from "./journey.js";

const echo = await byGuards(MCP);
assert.match(echo, /\\"q\\":\s*\\"x\\"/);
assert.equal(await byStatus(MCP), echo);
assert.equal(user.popups.length, 2);
