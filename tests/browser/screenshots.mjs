// Pictures of pages, to be looked at: node screenshots.mjs [--out DIR] [PATH…]
//
// Each page at 1280 px light and dark and at 390 px. Without paths: every page that the navigation has, an empty
// install's overview, the page that signs in. STYLE=1 takes console.css and console.js from the source tree, so that
// no build is needed to see a change of theirs.
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { open, signIn } from "./browser.mjs";
import { Stage } from "./stage.mjs";

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

const [stage, empty] = [await Stage.start(), await Stage.start({ seed: false })];
try {
  for (const [look, options] of LOOKS) {
    const browser = await open(options);
    try {
      const { page } = browser;
      page.on("pageerror", (error) => console.log(`script: ${error.message}`));
      page.on("console", (message) => { if (message.type() === "error") console.log(`console: ${message.text()}`); });
      await style(page);
      await page.goto(`${stage.url}/sign-in`);
      if (!words.length) await shoot(page, `sign-in-${look}`);
      await signIn(page, stage);
      const found = await page.locator("nav[aria-label=Main] a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
      for (const where of words.length ? words : found) {
        await page.goto(stage.url + where);
        await shoot(page, `${nameOf(where)}-${look}`);
      }
      if (!words.length) {
        await page.goto(`${stage.url}/no-such-page`);
        await shoot(page, `fault-${look}`);
        await page.context().clearCookies();
        await signIn(page, empty);
        await shoot(page, `empty-${look}`);
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
