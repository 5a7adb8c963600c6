// The daemon's own table of pages, read from its source: a page that is added there is missed here until it is visited.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const source = readFileSync(new URL("../../src/http/console/routes.rs", import.meta.url), "utf8");
const [, table] = /const PAGES: &\[Page\] = &\[\n([\s\S]*?)\n\];/.exec(source) ?? [];
assert.ok(table, "routes.rs has no table PAGES any more");

/** Every page: method, pattern, least role. */
export const PAGES = table.split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("//")).map((line) => {
  const [, method, path, least] = /^page!\((GET|POST) "([^"]+)" (View|Operate|Admin) [\w:]+\),$/.exec(line) ?? [];
  assert.ok(path, `a row of PAGES that cannot be read: ${line}`);
  return { method, path, least: least.toLowerCase() };
});
