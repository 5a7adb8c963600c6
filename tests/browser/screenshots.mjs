// Pictures of pages, to be looked at: node screenshots.mjs [--out DIR] [PATH…]
//
// Each page at 1280 px light and dark and at 390 px. Without paths: every page there is, on a stage where much
// goes on (scene.mjs) and on an empty install. Names of pages serve as paths; LOOK=light,phone limits the looks. STYLE=1 takes console.css and console.js from the source tree, so that
// no build is needed to see a change of theirs.
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { open, signIn } from "./browser.mjs";
import { Scene } from "./scene.mjs";

const words = process.argv.slice(2);
const at = words.indexOf("--out");
const out = path.resolve(at < 0 ? "target/screenshots" : words.splice(at, 2)[1]);
await mkdir(out, { recursive: true });

const LOOKS = [
  ["light", { viewport: { width: 1280, height: 800 }, colorScheme: "light" }],
  ["dark", { viewport: { width: 1280, height: 800 }, colorScheme: "dark" }],
  ["phone", { viewport: { width: 390, height: 800 }, colorScheme: "light" }],
];
const assets = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/http/console/assets");

async function style(page) {
  if (!process.env.STYLE) return;
  for (const [name, contentType] of [["console.css", "text/css"], ["console.js", "text/javascript"]]) {
    await page.route(`**/assets/${name}*`, async (route) => route.fulfill({ contentType, body: await readFile(path.join(assets, name)) }));
  }
}

let wide = 0;
async function shoot(page, name) {
  const file = path.join(out, `${name}.png`);
  await page.screenshot({ path: file, fullPage: true });
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) { wide += 1; console.log(`${name}: ${over} px wider than the screen`); }
}

const nameOf = (where) => where.replace(/^\/|\?.*/g, "").replaceAll("/", "_") || "overview";

/** Every page there is to look at: those of the navigation, and one of each that stands behind them. */
async function every(stage) {
  const deliveries = (await stage.command("delivery", "list")).deliveries ?? [];
  const parked = deliveries.find((one) => one.state === "parked");
  const user = `/users/${stage.person}`;
  const api = async (page, where) => page.evaluate(async (where) => (await fetch(where)).json(), where);
  return async (page) => {
    const grants = await api(page, "/api/v1/grants").catch(() => ({}));
    const activity = await api(page, "/api/v1/activity").catch(() => ({}));
    const tokens = await api(page, "/api/v1/tokens?directory=acme-okta").catch(() => ({}));
    const versions = await api(page, "/api/v1/targets/gateway").catch(() => ({}));
    const grant = (grants.grants ?? grants)[0];
    const token = (tokens.tokens ?? tokens)[0];
    const requests = activity.activity ?? [];
    const changing = requests.find((one) => one.method === "PATCH") ?? requests[0];
    return {
      overview: "/", health: "/health", directories: "/directories", "add-directory": "/add-directory",
      directory: "/directories/acme-okta", "directory-silent": "/directories/hr-legacy", "directory-disabled": "/directories/lab-keycloak",
      guide: "/directories/acme-okta/guide", rename: "/directories/acme-okta/rename", disable: "/directories/acme-okta/disable",
      enable: "/directories/lab-keycloak/enable", rebaseline: "/directories/acme-okta/rebaseline", remove: "/directories/acme-okta/remove",
      "token-new": "/directories/acme-okta/tokens/new", "token-revoke": token && `/directories/acme-okta/tokens/${token.id}/revoke`,
      users: "/users", "users-wrong": "/users?filter=userName%20zz", user, "user-shut": stage.shut && `/users/${stage.shut}`, "user-history": `${user}/history`,
      shut: `${user}/shut`, open: stage.shut && `/users/${stage.shut}/open`, grant: `${user}/grant`, access: `${user}/access`,
      groups: "/groups", group: `/groups/${stage.group1}`, docs: "/docs", doc: "/docs/guard",
      targets: "/targets", "target-held": "/targets/opa", "target-drifted": "/targets/vpn-allow-list-for-the-eu-central-gateways",
      "target-webhook": "/targets/audit", file: "/targets/gateway/file", plan: "/targets/opa/plan",
      rollback: versions.versions?.[1] && `/targets/gateway/rollback?to=${versions.versions[1].seq}`,
      deliveries: "/deliveries", delivery: parked && `/deliveries/${parked.target}/${parked.event ?? parked.id}`,
      skip: parked && `/deliveries/${parked.target}/${parked.event ?? parked.id}/skip`, resume: "/deliveries/audit/resume", replay: "/deliveries/audit/replay", snapshot: "/deliveries/audit/snapshot",
      history: "/history", "access-at": "/access?at=1s%20ago", diff: "/diff?from=seq:5&to=now", grants: "/grants",
      "grant-revoke": grant && `/grants/${encodeURIComponent(grant.id)}/revoke`, "shut-ask": "/shut",
      activity: "/activity", request: changing && `/activity/${changing.id}`, styleguide: "/styleguide", fault: "/no-such-page",
    };
  };
}

const only = process.env.LOOK?.split(",") ?? LOOKS.map(([look]) => look);
const [stage, empty] = [await Scene.start(), await Scene.start({ seed: false })];
const pagesOf = await every(stage);
try {
  for (const [look, options] of LOOKS.filter(([look]) => only.includes(look))) {
    const browser = await open(options);
    try {
      const { page } = browser;
      page.on("pageerror", (error) => console.log(`script: ${error.message}`));
      page.on("console", (message) => { if (message.type() === "error") console.log(`console: ${message.text()}`); });
      await style(page);
      await page.goto(`${stage.url}/sign-in`);
      if (!words.length) await shoot(page, `sign-in-${look}`);
      await signIn(page, stage);
      const pages = Object.entries(await pagesOf(page));
      const wanted = words.length ? words.map((word) => pages.find(([name]) => name === word) ?? [nameOf(word), word]) : pages;
      for (const [name, where] of wanted) {
        if (!where) { console.log(`${name}: nothing to show`); continue; }
        const answer = await page.goto(stage.url + where);
        if (answer.status() >= 400 && name !== "fault" && name !== "users-wrong") console.log(`${name}: ${answer.status()} ${where}`);
        await shoot(page, `${name}-${look}`);
      }
      if (words.length) continue;
      await page.goto(`${stage.url}/targets/opa/plan`);
      await page.getByRole("button", { name: "Approve all" }).click();
      await shoot(page, `plan-ask-${look}`);
      await page.context().clearCookies();
      await signIn(page, empty);
      for (const where of await page.locator("nav[aria-label=Main] a").evaluateAll((links) => links.map((link) => link.getAttribute("href")))) {
        await page.goto(empty.url + where);
        await shoot(page, `empty-${nameOf(where)}-${look}`);
      }
    } finally {
      await browser.close();
    }
  }
} finally {
  await Promise.all([stage.stop(), empty.stop()]);
}
console.log(`pictures are in ${out}`);
process.exitCode = wide ? 1 : 0;
