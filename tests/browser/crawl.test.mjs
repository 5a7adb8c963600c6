// Every link and every form that only asks leads somewhere, and every page can be reached from the navigation: plain
// requests, as a browser without JavaScript makes them, on a stage where much goes on.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { Scene } from "./scene.mjs";
import { PASSWORD } from "./stage.mjs";

const PAGES_MAX = 1500;
/** Of pages that differ by a name alone, so many are looked at. */
const ALIKE_MAX = 6;
/** The page for whoever builds pages, and what is offered only over 20,000 users or while bodies are kept. */
const ELSEWHERE = new Set(["/styleguide", "/users/{id}/access", "/activity/trace"]);

const plain = (text) => text.replaceAll("&amp;", "&").replaceAll("&#x2f;", "/").replaceAll("&quot;", '"').replaceAll("&#x27;", "'").replaceAll("&lt;", "<").replaceAll("&gt;", ">");
const attribute = (tag, name) => { const found = tag.match(new RegExp(`\\s${name}="([^"]*)"`)); return found && plain(found[1]); };

async function signIn(stage, name) {
  const page = await fetch(`${stage.url}/sign-in`);
  const csrf = (await page.text()).match(/name="csrf" value="([^"]*)"/)[1];
  const answer = await fetch(`${stage.url}/sign-in`, {
    method: "POST", redirect: "manual", headers: { origin: stage.url, "sec-fetch-site": "same-origin" },
    body: new URLSearchParams({ csrf, name, password: PASSWORD, next: "/" }),
  });
  assert.equal(answer.status, 303);
  return answer.headers.get("set-cookie").split(";")[0];
}

/** Links of a page, and its forms that ask, filled in as they stand. */
function leads(html) {
  const found = [];
  for (const [tag] of html.matchAll(/<a\s[^>]*>/g)) found.push(attribute(tag, "href"));
  for (const [form, head] of html.matchAll(/(<form\s[^>]*>)[\s\S]*?<\/form>/g)) {
    if (attribute(head, "method") !== "get") continue;
    const query = new URLSearchParams();
    for (const [tag] of form.matchAll(/<input\s[^>]*>/g)) query.set(attribute(tag, "name"), attribute(tag, "value") ?? "");
    for (const [select, name] of form.matchAll(/<select\s[^>]*name="([^"]*)"[\s\S]*?<\/select>/g)) {
      const options = [...select.matchAll(/<option\s[^>]*>/g)].map(([tag]) => attribute(tag, "value"));
      query.set(name, options.at(-1) ?? "");
    }
    found.push(`${attribute(head, "action")}?${query}`);
  }
  return found.filter(Boolean);
}

async function routes() {
  const file = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/http/console/routes.rs");
  const rows = [...(await readFile(file, "utf8")).matchAll(/page!\(GET "([^"]+)"/g)].map(([, pattern]) => pattern);
  return rows.filter((pattern) => !pattern.split("/").includes("now"));
}

/** The row that answers a path: one without named parts goes before one with them. */
const rowOf = (patterns, where) => patterns
  .filter((pattern) => {
    const [wanted, given] = [pattern.split("/"), where.split("/")];
    return wanted.length === given.length && wanted.every((part, n) => (part.startsWith("{") ? given[n] : part === given[n]));
  })
  .sort((a, b) => (a.match(/\{/g) ?? []).length - (b.match(/\{/g) ?? []).length)[0];

async function crawl(stage, name) {
  const [cookie, patterns] = [await signIn(stage, name), await routes()];
  const [seen, broken, reached, alike, ids, anchors] = [new Set(), [], new Set(), new Map(), new Map(), []];
  const open = [["/", "the start"]];
  while (open.length) {
    const [where, from] = open.shift();
    const url = new URL(where, stage.url);
    if (url.origin !== stage.url || url.pathname.startsWith("/assets/")) continue;
    const page = url.pathname + url.search;
    if (url.hash) anchors.push([page, decodeURIComponent(url.hash.slice(1)), from]);
    const row = rowOf(patterns, url.pathname);
    const kind = `${row ?? url.pathname} ${[...url.searchParams.keys()].sort().join()}`;
    if (seen.has(page) || (alike.get(kind) ?? 0) >= ALIKE_MAX) continue;
    assert.ok(seen.size < PAGES_MAX, `more than ${PAGES_MAX} pages`);
    seen.add(page);
    alike.set(kind, (alike.get(kind) ?? 0) + 1);
    const answer = await fetch(url, { redirect: "manual", headers: { cookie } });
    const text = await answer.text();
    if (answer.status !== 200) { broken.push(`${page} is answered ${answer.status}; linked from ${from}`); continue; }
    reached.add(row);
    if (!(answer.headers.get("content-type") ?? "").startsWith("text/html")) continue;
    ids.set(page, new Set([...text.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => plain(id))));
    open.push(...leads(text).map((lead) => [new URL(lead, url).href, page]));
  }
  const lost = anchors.filter(([page, id]) => ids.has(page) && !ids.get(page).has(id)).map(([page, id, from]) => `${page} has no #${id}; linked from ${from}`);
  return { broken, lost, missing: patterns.filter((pattern) => !reached.has(pattern) && !ELSEWHERE.has(pattern)), pages: seen.size };
}

test("every link is alive, and every page is reached from the navigation", async (t) => {
  const stage = await Scene.start();
  try {
    for (const name of ["ada", "olga", "vic"]) {
      await t.test(`as ${name}`, async () => {
        const { broken, lost, missing, pages } = await crawl(stage, name);
        assert.deepEqual(broken, []);
        assert.deepEqual(lost, []);
        assert.ok(pages > 50, `only ${pages} pages`);
        if (name === "ada") assert.deepEqual(missing, []);
      });
    }
  } finally {
    await stage.stop();
  }
});

test("an empty install has no dead links either", async () => {
  const stage = await Scene.start({ seed: false });
  try {
    const { broken, lost } = await crawl(stage, "ada");
    assert.deepEqual([...broken, ...lost], []);
  } finally {
    await stage.stop();
  }
});
