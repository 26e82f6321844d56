// What the programs here share: they listen on a free port, and say so.
import { createServer } from "node:http";

/** Serves handler on a free port of 127.0.0.1, and prints the URL. */
export function listen(handler) {
  const server = createServer(handler);
  server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
}
