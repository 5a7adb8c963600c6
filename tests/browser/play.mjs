// Somebody at the console: a browser that writes down whatever it should not see, and takes a picture of each step.
import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { open, signIn } from "./browser.mjs";
import { Stage } from "./stage.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
/** Where pictures go. */
export const OUT = process.env.BROWSER_OUT ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "browser");

// A file that is cut short leaves by the front door, so that what it started is ended.
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(1));

/**
 * A browser on `stage`. Everything a page writes to the console as an error, every violation of its policy, every
 * script that throws and every request to another host is kept in `faults`; `close` fails if there are any.
 */
export async function play(stage, name, { as, ...options } = {}) {
  const browser = await open({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const { context, page } = browser;
  const [faults, forgiven] = [[], []];
  const fault = (text) => { if (!forgiven.some((pattern) => pattern.test(text))) faults.push(text); };
  context.setDefaultTimeout(20_000);
  context.on("console", (message) => {
    if (message.type() === "error") fault(`console: ${message.text()} (${message.location().url ?? ""})`);
  });
  context.on("weberror", (error) => fault(`script: ${error.error().message}`));
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== stage.url && url.protocol !== "data:") fault(`request to another host: ${request.url()}`);
  });
  await context.exposeFunction("policyBroken", (text) => fault(`policy: ${text}`));
  await context.addInitScript(() => addEventListener("securitypolicyviolation",
    (event) => window.policyBroken(`${event.violatedDirective} ${event.blockedURI} on ${event.documentURI}`)));
  let shots = 0;
  const out = path.join(OUT, name);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const player = {
    context, page, faults,
    /** Console lines that a step brings about on purpose, such as the 403 that it looks for. */
    forgive: (...patterns) => { forgiven.push(...patterns); },
    shot: (what, of = page) => of.screenshot({ path: path.join(out, `${String(++shots).padStart(2, "0")}-${what}.png`), fullPage: true }),
    go: (where) => page.goto(stage.url + where),
    heading: (text, of = page) => of.getByRole("heading", { name: text }).first().waitFor(),
    as: (who) => signIn(page, stage, who),
    /** `failed`: what went wrong, if anything, which is told before what the browser saw. */
    close: async (failed) => {
      if (failed) await page.screenshot({ path: path.join(out, "failed.png"), fullPage: true }).catch(() => {});
      await browser.close();
      if (failed) throw faults.length ? new Error(`${failed.message}\nand the browser saw: ${faults.slice(0, 5).join("; ")}`, { cause: failed }) : failed;
      assert.deepEqual(faults, [], "the browser saw what it should not");
    },
  };
  if (as) await player.as(as);
  return player;
}

/** One test: a stage, a browser on it, and the end of both whatever happens. */
export async function scene(name, { start = {}, ...options }, act) {
  const stage = await Stage.start(start);
  try {
    const player = await play(stage, name, options);
    const failed = await Promise.resolve().then(() => act(stage, player)).then(() => null, (error) => error);
    await player.close(failed);
  } finally {
    await stage.stop();
  }
}
