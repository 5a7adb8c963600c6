// Every page that the daemon's table has, with people in it and on an empty install, light and dark, wide and narrow:
// axe-core finds nothing serious, nothing is wider than the screen, and the keyboard reaches everything.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { play } from "./play.mjs";
import { PASSWORD, Stage, until } from "./stage.mjs";
import { PAGES } from "./table.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Where each page is looked at. What is marked is no page of its own: a part of one, or a file that is saved. */
const PART = Symbol("part of a page"), FILE = Symbol("file");
const visits = (it) => ({
  "/": ["/"],
  "/overview/now": PART,
  "/health": ["/health"],
  "/styleguide": ["/styleguide"],
  "/directories": ["/directories"],
  "/now/directories": PART,
  "/add-directory": ["/add-directory"],
  "/directories/{id}": [`/directories/${it.directory}`, "/directories/lab-keycloak"],
  "/directories/{id}/now": PART,
  "/directories/{id}/guide": ["okta", "entra", "lab"].map((one) => `/directories/${{ okta: it.directory, entra: "acme-subsidiary", lab: "lab-keycloak" }[one]}/guide`),
  "/directories/{id}/rename": [`/directories/${it.directory}/rename`],
  "/directories/{id}/disable": [`/directories/${it.directory}/disable`],
  "/directories/{id}/enable": [`/directories/${it.directory}/enable`],
  "/directories/{id}/rebaseline": [`/directories/${it.directory}/rebaseline`],
  "/directories/{id}/remove": [`/directories/${it.directory}/remove`],
  "/directories/{id}/tokens/new": [`/directories/${it.directory}/tokens/new`],
  "/directories/{id}/tokens/{token}/revoke": [`/directories/${it.directory}/tokens/${it.token}/revoke`],
  "/users": ["/users", "/users?q=nobody-of-that-name", "/users?filter=wrong%20(", "/users?filter=active%20eq%20false"],
  "/users/{id}": [`/users/${it.user}`, `/users/${it.out}`],
  "/users/{id}/access": [`/users/${it.user}/access`],
  "/users/{id}/history": [`/users/${it.user}/history`],
  "/users/{id}/shut": [`/users/${it.user}/shut`],
  "/users/{id}/open": [`/users/${it.out}/open`],
  "/users/{id}/grant": [`/users/${it.user}/grant`],
  "/groups": ["/groups", "/groups?q=nothing-of-that-name"],
  "/groups/{id}": [`/groups/${it.group}`],
  "/groups/{id}/history": [`/groups/${it.group}/history`],
  "/docs": ["/docs"],
  "/docs/{name}": ["/docs/okta", "/docs/idp-quirks", "/docs/guard"],
  "/targets": ["/targets"],
  "/targets/now": PART,
  "/targets/{name}": ["/targets/opa", "/targets/app"],
  "/targets/{name}/now": PART,
  "/targets/{name}/file": ["/targets/opa/file", "/targets/gateway/file"],
  "/targets/{name}/plan": ["/targets/opa/plan", "/targets/app/plan"],
  "/targets/{name}/{order}": [`/targets/opa/rollback?to=${it.version}`, "/targets/opa/adopt", "/targets/opa/unpin", "/targets/opa/forget", "/targets/opa/restored"],
  "/deliveries": ["/deliveries", "/deliveries?target=app&state=parked"],
  "/deliveries/{target}/{event}": [`/deliveries/${it.done}`, `/deliveries/${it.open}`],
  "/deliveries/{target}/{event}/skip": [`/deliveries/${it.open}/skip`],
  "/deliveries/{target}/resume": ["/deliveries/app/resume"],
  "/deliveries/{target}/replay": ["/deliveries/app/replay"],
  "/deliveries/{target}/snapshot": ["/deliveries/app/snapshot"],
  "/history": ["/history", "/history?kind=no.such"],
  "/access": ["/access", `/access?at=seq:${it.version}`],
  "/diff": ["/diff", `/diff?from=seq:${it.version}`],
  "/grants": ["/grants"],
  "/grants/{id}/revoke": [`/grants/${it.grant}/revoke`],
  "/shut": ["/shut"],
  "/shut/open": [`/shut/open?subject=${encodeURIComponent(`${it.directory}/${it.out}`)}`],
  "/activity": ["/activity", "/activity?status=5xx"],
  "/activity/now": PART,
  "/activity/trace": FILE,
  "/activity/{id}": [`/activity/${it.request}`, `/activity/${it.bodies}`],
});

/** What comes of a form rather than of an address. */
const FORMS = [
  ["the question before removals go", async (page, go) => {
    await go("/targets/opa/plan");
    await page.getByRole("button", { name: /^Approve all/ }).click();
    await page.getByRole("heading", { name: /^Approve removals/ }).waitFor();
  }],
  ["the question before removals are rejected", async (page, go) => {
    await go("/targets/opa/plan");
    await page.getByRole("button", { name: "Reject all…" }).click();
    await page.getByRole("heading", { name: /^Reject what is held/ }).waitFor();
  }],
  ["a form that was refused", async (page, go) => {
    await go("/directories/acme-okta/remove");
    await page.getByLabel(/^Type its id/).fill("something else");
    await page.getByRole("button", { name: "Remove for good" }).click();
    await page.getByRole("alert").waitFor();
  }],
  ["a token that is shown once", async (page, go) => {
    await go("/directories/lab-keycloak/tokens/new");
    await page.getByRole("button", { name: "Make token" }).click();
    await page.getByLabel("Token", { exact: true }).waitFor();
  }],
  ["the script's question", async (page, go) => {
    await go("/activity?follow=no");
    await page.getByRole("button", { name: "Keep bodies" }).click();
    await page.getByRole("dialog").waitFor();
  }],
];

let stage, empty, facts;
const api = async (where) => {
  const authorization = `Basic ${Buffer.from(`ada:${PASSWORD}`).toString("base64")}`;
  const answer = await fetch(`${stage.url}/api/v1/${where}`, { headers: { authorization } });
  assert.equal(answer.status, 200, where);
  return answer.json();
};

before(async () => {
  [stage, empty] = await Promise.all([Stage.start(), Stage.start({ seed: false })]);
  const { users } = await api("users");
  const named = (name) => users.find((one) => one.user_name.startsWith(name));
  // A receiver that refuses, somebody who is shut out, a request whose bodies were kept.
  const delivered = await until("a delivery that is done", async () =>
    (await api("deliveries")).deliveries.find((one) => one.state === "done"));
  stage.refuses = true;
  await stage.command("shut", named("dana").user_name, "--reason", "lost laptop");
  const open = await until("a delivery that is not taken", async () =>
    (await api("deliveries")).deliveries.find((one) => !["done", "held"].includes(one.state) && one.attempts > 0));
  const player = await play(stage, "pages", { as: "ada" });
  await player.go("/activity");
  await player.page.getByRole("button", { name: "Keep bodies" }).click();
  await player.page.getByRole("dialog").getByRole("button", { name: "Keep bodies" }).click();
  await player.page.getByRole("button", { name: "Stop keeping bodies" }).waitFor();
  await player.close();
  await stage.user(stage.okta, "zeno@example.com", "Zeno", "Elea");
  const kept = await until("a request with its bodies", async () => (await api("activity")).activity.find((one) => one.has_bodies));
  const { activity } = await api("activity");
  const { tokens } = await api("tokens?directory=acme-okta");
  const { versions } = await api("targets/opa");
  facts = {
    directory: "acme-okta", token: tokens[0].id, user: named("ada").id, out: named("dana").id,
    group: (await api("groups")).groups[0].id, version: versions.at(-2).seq, done: delivered.id, open: open.id,
    grant: (await api("grants")).grants[0].id, request: activity.find((one) => !one.has_bodies).id, bodies: kept.id,
  };
});
after(() => Promise.all([stage?.stop(), empty?.stop()]));

test("every page of the table is visited, and none besides", () => {
  const table = PAGES.filter((one) => one.method === "GET").map((one) => one.path);
  assert.deepEqual(Object.keys(visits(facts)).sort(), table.sort());
});

const pagesOf = () => Object.values(visits(facts)).filter(Array.isArray).flat();
/** Pages that an install without a single directory service has. */
const pagesOfNobody = () => Object.entries(visits(facts)).filter(([path, where]) => Array.isArray(where) && !path.includes("{")
  && !path.startsWith("/shut")).map(([path]) => path).concat("/docs/okta");

// Dark is the same page with other values of the colours in console.css, so that only rules about colour are asked again.
const RULES = { light: {}, dark: { runOnly: { type: "rule", values: ["color-contrast", "link-in-text-block"] } } };

/** Looks at what the page shows, light and dark. */
async function look(page, what, found) {
  await page.evaluate(axe);
  for (const [colorScheme, rules] of Object.entries(RULES)) {
    await page.emulateMedia({ colorScheme });
    const violations = await page.evaluate(async (more) => (await window.axe.run(document, { resultTypes: ["violations"], ...more })).violations
      .map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map((one) => `${one.target.join(" ")} ${one.any[0]?.message ?? ""}`) })), rules);
    for (const one of violations) found.push({ ...one, where: `${what}, ${colorScheme}` });
  }
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) found.push({ id: "wider-than-the-screen", impact: "serious", help: `${over} px`, nodes: [], where: what });
}

async function lookAtAll(t, on, name, width, pages, forms) {
  const found = [];
  const player = await play(on, name, { as: "ada", viewport: { width, height: 900 } });
  const failed = await (async () => {
    const { page, go, forgive, shot } = player;
    for (const where of pages) {
      const answer = await go(where);
      const isRefused = /[?&](filter=wrong|kind=no)/.test(where);
      assert.ok(isRefused || answer.status() === 200, `${where}: ${answer.status()}`);
      await look(page, where, found);
    }
    for (const [what, act] of forms) {
      if (what === "a form that was refused") forgive(/status of 4\d\d/);
      await act(page, go);
      await look(page, what, found);
    }
    forgive(/status of 404/);
    await go("/no-such-page");
    await look(page, "a page that is not there", found);
    await player.context.clearCookies();
    await go("/sign-in");
    await look(page, "/sign-in", found);
    await shot("sign-in");
  })().then(() => null, (error) => error);
  await player.close(failed);
  const line = (one) => `${one.impact} ${one.id} on ${one.where}: ${one.help}\n      ${one.nodes.slice(0, 3).join("\n      ")}`;
  const isBad = (one) => ["serious", "critical"].includes(one.impact);
  for (const one of found.filter((one) => !isBad(one))) t.diagnostic(line(one));
  t.diagnostic(`${pages.length + forms.length + 2} pages looked at, in two colours`);
  assert.equal(found.filter(isBad).length, 0, `\n${found.filter(isBad).slice(0, 25).map(line).join("\n")}`);
}

for (const width of [1280, 390]) {
  test(`with people in it, ${width} px`, { timeout: 240_000 }, (t) => lookAtAll(t, stage, `pages-${width}`, width, pagesOf(), FORMS));
  test(`an empty install, ${width} px`, { timeout: 120_000 }, (t) => lookAtAll(t, empty, `pages-empty-${width}`, width, pagesOfNobody(), []));
}

/** Marks what the keyboard should reach, in the order of the page; gives how many. */
const mark = (page) => page.evaluate(() => {
  const radios = new Set();
  const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")].filter((one) => {
    if (one.tabIndex < 0 || one.disabled || !one.checkVisibility({ visibilityProperty: true })) return false;
    if (one.type !== "radio") return true;
    const group = [...document.getElementsByName(one.name)];
    const stands = group.find((other) => other.checked) ?? group[0];
    return one === stands && !radios.has(one.name) && radios.add(one.name);
  });
  all.forEach((one, n) => { one.tabNumber = n; });
  return all.map((one) => `${one.tagName.toLowerCase()} “${(one.ariaLabel || one.textContent || one.name || one.id).trim().slice(0, 40)}”`);
});

test("the keyboard reaches every control in order, and one sees where it is", { timeout: 240_000 }, async (t) => {
  const player = await play(stage, "keyboard", { as: "ada" });
  const problems = [];
  let pressed = 0;
  const failed = await (async () => {
    const { page, go, context } = player;
    // Nothing is exchanged under our hands.
    await context.addInitScript(() => Object.defineProperty(document, "hidden", { get: () => true }));
    for (const where of [...Object.values(visits(facts)).filter(Array.isArray).map(([first]) => first), null]) {
      if (where) await go(where);
      else { await context.clearCookies(); await go("/sign-in"); await page.evaluate(() => document.activeElement.blur()); }
      const names = await mark(page);
      const reached = new Set();
      let last = -1;
      for (let n = 0; n < names.length + 40; n += 1) {
        await page.keyboard.press("Tab");
        pressed += 1;
        const at = await page.evaluate(() => {
          const one = document.activeElement;
          if (!one || one === document.body) return null;
          const seen = [one, one.closest("label"), one.parentElement].filter(Boolean).some((it) => {
            const style = getComputedStyle(it);
            return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || (it === one && style.boxShadow !== "none");
          });
          const box = one.getBoundingClientRect();
          const isOn = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
          return { n: one.tabNumber ?? -1, seen: seen && isOn };
        });
        if (!at) break;
        if (at.n < 0) continue;
        if (reached.has(at.n)) break;
        reached.add(at.n);
        if (at.n < last) problems.push(`${where}: ${names[at.n]} comes after ${names[last]}`);
        last = at.n;
        if (!at.seen) problems.push(`${where}: one does not see that ${names[at.n]} has the focus`);
      }
      names.forEach((name, n) => { if (!reached.has(n)) problems.push(`${where}: Tab never comes to ${name}`); });
    }
  })().then(() => null, (error) => error);
  await player.close(failed);
  t.diagnostic(`${pressed} times Tab`);
  assert.deepEqual(problems.slice(0, 40), []);
});

test("skip link, menu and Escape", { timeout: 60_000 }, async () => {
  const player = await play(stage, "menu", { as: "ada", viewport: { width: 390, height: 800 } });
  const failed = await (async () => {
    const { page, go, shot } = player;
    await go("/targets");
    await page.keyboard.press("Tab");
    const skip = page.getByRole("link", { name: "Skip to content" });
    assert.ok(await skip.evaluate((link) => link === document.activeElement && link.getBoundingClientRect().top >= 0), "the skip link is first, and seen");
    await shot("skip-link");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "main");
    const menu = page.getByRole("button", { name: "Menu" });
    assert.equal(await page.getByRole("link", { name: "History", exact: true }).isVisible(), false);
    await menu.focus();
    await page.keyboard.press("Enter");
    assert.equal(await menu.getAttribute("aria-expanded"), "true");
    await page.getByRole("link", { name: "History", exact: true }).waitFor();
    await shot("menu");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Overview");
    await page.keyboard.press("Escape");
    assert.equal(await menu.getAttribute("aria-expanded"), "false", "Escape closes the menu");
    assert.ok(await menu.evaluate((button) => button === document.activeElement), "and the focus is back on its button");
  })().then(() => null, (error) => error);
  await player.close(failed);
});
