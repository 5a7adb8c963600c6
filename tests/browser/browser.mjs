// Debian's chromium, with nothing that talks to the outside.
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

/** A browser with an empty profile; `close` takes the profile with it. */
export async function open(options = {}) {
  const profile = await mkdtemp(path.join(os.tmpdir(), "rosterd-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ARGUMENTS, ...options,
  });
  return {
    context,
    page: context.pages()[0] ?? await context.newPage(),
    close: async () => { await context.close(); await rm(profile, { recursive: true, force: true }); },
  };
}

export async function signIn(page, stage, name = "ada", password) {
  const { PASSWORD } = await import("./stage.mjs");
  await page.goto(`${stage.url}/sign-in`);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(password ?? PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
}
