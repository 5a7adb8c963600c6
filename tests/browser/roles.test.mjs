import assert from "node:assert/strict";
import { test } from "node:test";
import { enter } from "./guide.mjs";
import { scene } from "./play.mjs";
import { PAGES } from "./table.mjs";

const some = (path) => path.replace("{id}", "acme-okta").replace("{name}", "opa").replace("{target}", "app").replace(/\{\w+\}/g, "x");

test("who may look only is offered nothing and refused everything", { timeout: 120_000 }, () =>
  scene("view", { as: "vic" }, async (stage, { page, shot, go, forgive }) => {
    for (const where of ["/directories", "/directories/acme-okta", "/directories/acme-okta/guide", "/users", "/groups", "/targets", "/targets/opa",
      "/targets/opa/plan", "/deliveries", "/grants", "/activity", "/health", "/"]) {
      await go(where);
      const forms = await page.locator("form[method=post]").evaluateAll((all) => all.map((form) => form.getAttribute("action")));
      assert.deepEqual(forms, ["/sign-out"], `forms on ${where}`);
      const links = await page.getByRole("main").locator("a[href]").evaluateAll((all) => all.map((link) => link.pathname));
      const refused = PAGES.filter((one) => one.method === "GET" && one.least !== "view").map((one) => new RegExp(`^${one.path.replace(/\{\w+\}/g, "[^/]+")}$`));
      const seen = PAGES.filter((one) => one.method === "GET" && one.least === "view" && !one.path.includes("{"))
        .map((one) => one.path);
      assert.deepEqual(links.filter((link) => !seen.includes(link) && !/\/(file|plan|guide|now|access|history|trace)$/.test(link)
        && refused.some((pattern) => pattern.test(link))), [], `links on ${where}`);
    }
    await go("/targets/opa/plan");
    await shot("plan-without-buttons");

    // What the page does not offer is refused when it is asked for outright, with this very session and its form token.
    forgive(/status of 403/);
    for (const { method, path } of PAGES.filter((one) => one.least !== "view")) {
      const status = await page.evaluate(async ([method, where]) => {
        const csrf = document.querySelector("input[name=csrf]").value;
        const answer = await fetch(where, method === "POST" ? { method, body: new URLSearchParams({ csrf }) } : {});
        return answer.status;
      }, [method, some(path)]);
      assert.equal(status, 403, `${method} ${path}`);
    }
    await go("/add-directory");
    await page.getByRole("heading", { name: "Not allowed" }).waitFor();
    await shot("not-allowed");
    const { targets } = await stage.command("status");
    assert.ok(targets.some((one) => one.held_removals > 0), "what was held is held still");
  }));

test("who operates decides, and makes no tokens", { timeout: 120_000 }, () =>
  scene("operate", { as: "olga" }, async (stage, { page, go, forgive }) => {
    await go("/targets/opa/plan");
    await page.getByRole("button", { name: /^Approve all/ }).waitFor();
    await go("/directories");
    assert.equal(await page.getByRole("link", { name: "+ Add directory service" }).count(), 0);
    forgive(/status of 403/);
    for (const { method, path } of PAGES.filter((one) => one.least === "admin")) {
      const status = await page.evaluate(async ([method, where]) => {
        const csrf = document.querySelector("input[name=csrf]").value;
        return (await fetch(where, method === "POST" ? { method, body: new URLSearchParams({ csrf }) } : {})).status;
      }, [method, some(path)]);
      assert.equal(status, 403, `${method} ${path}`);
    }
    await go("/directories");
    const forged = await page.evaluate(async () => (await fetch("/targets/opa/sync", { method: "POST", body: new URLSearchParams({ csrf: "x" }) })).status);
    assert.equal(forged, 403, "a form without the session's token");
  }));

test("signing out, and a session that ended under an open page", { timeout: 120_000 }, () =>
  scene("session", { start: { seed: false } }, async (stage, player) => {
    const { page, shot, go, context, forgive } = player;
    await go("/users?q=zo");
    assert.equal(new URL(page.url()).pathname, "/sign-in");
    await page.getByLabel("Name").fill("ada");
    await page.getByLabel("Password").fill("not the password");
    forgive(/status of 401/);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("The name or the password is wrong.").waitFor();
    await shot("wrong-password");
    await page.getByLabel("Password").fill("correct horse battery");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`${stage.url}/users?q=zo`);

    // Signed out in another tab: the page that follows says so, and its link leads back to it.
    await go("/directories");
    const other = await context.newPage();
    await other.goto(`${stage.url}/health`);
    const [{ value: cookie, name }] = await context.cookies();
    await other.getByRole("button", { name: "Sign out" }).click();
    await other.waitForURL(`${stage.url}/sign-in`);
    await other.close();
    await page.getByRole("alert").filter({ hasText: "You are signed out" }).waitFor();
    await shot("signed-out-meanwhile");
    await page.getByRole("link", { name: "Sign in again" }).click();
    await page.getByLabel("Name").fill("ada");
    await page.getByLabel("Password").fill("correct horse battery");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`${stage.url}/directories`);

    // The cookie of the session that was signed out opens nothing any more.
    await context.clearCookies();
    await context.addCookies([{ name, value: cookie, url: stage.url }]);
    await go("/directories");
    assert.equal(new URL(page.url()).pathname, "/sign-in");
    await player.as("ada");

    // The daemon starts anew and knows no sessions: to the sign-in, and back.
    await go("/health");
    await stage.halt();
    await stage.run();
    await enter(page, "History");
    await page.getByRole("button", { name: "Sign in" }).waitFor();
    await shot("session-ended");
    await page.getByLabel("Name").fill("ada");
    await page.getByLabel("Password").fill("correct horse battery");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`${stage.url}/history`);
    await shot("back");
  }));
