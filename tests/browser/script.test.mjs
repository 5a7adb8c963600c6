import assert from "node:assert/strict";
import { test } from "node:test";
import { addDirectory, enter, fileNames, heldPeople, letGo, withFile } from "./guide.mjs";
import { Provider, PROVIDERS } from "./idp.mjs";
import { scene } from "./play.mjs";

test("what the script adds: search as one types, a question first, looking on only while somebody looks", { timeout: 120_000 }, () =>
  scene("script", { as: "ada" }, async (stage, { page, shot, go }) => {
    // Search as one types, without the button and without a new page.
    await go("/users");
    await page.evaluate(() => { window.stayed = true; });
    await page.getByRole("searchbox").pressSequentially("bru");
    await page.waitForURL(`${stage.url}/users?q=bru`);
    assert.equal(await page.locator("#found tbody tr").count(), 1);
    assert.equal(await page.evaluate(() => window.stayed), true);
    assert.equal(await page.evaluate(() => document.activeElement.type), "search", "the field keeps the focus");
    await page.locator("p[role=status]").filter({ hasText: "1 user on this page" }).waitFor({ state: "attached" });
    await shot("search");
    await page.getByRole("searchbox").press("Enter");
    await page.waitForFunction(() => !window.stayed);
    assert.equal(await page.locator("#found tbody tr").count(), 1, "the same by the button");

    // The question: Escape and Cancel close it and nothing is sent, and the focus goes back.
    await go("/activity");
    const keep = page.getByRole("button", { name: "Keep bodies" });
    const sent = [];
    page.on("request", (request) => { if (request.method() === "POST") sent.push(request.url()); });
    const dialog = page.getByRole("dialog");
    for (const close of [() => page.keyboard.press("Escape"), () => dialog.getByRole("button", { name: "Cancel" }).click()]) {
      await keep.click();
      await dialog.waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel");
      await close();
      await dialog.waitFor({ state: "detached" });
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Keep bodies");
    }
    assert.deepEqual(sent, []);
    await keep.click();
    await dialog.waitFor();
    await shot("question");
    await dialog.getByRole("button", { name: "Keep bodies" }).click();
    await page.getByRole("button", { name: "Stop keeping bodies" }).waitFor();
    assert.deepEqual(sent, [`${stage.url}/activity/bodies`]);

    // Live regions, on a clock of ours: nothing is asked while the page is hidden, and at once when it comes back.
    await page.clock.install();
    await go("/overview/../directories");
    let asked = 0;
    page.on("request", (request) => { if (new URL(request.url()).pathname === "/now/directories") asked += 1; });
    const show = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    const answered = () => page.waitForResponse((response) => response.url().endsWith("/now/directories"));
    await Promise.all([answered(), page.clock.runFor(6_000)]);
    await show(true);
    const before = asked;
    await page.clock.runFor(600_000);
    assert.equal(asked, before, "hidden for ten minutes");
    await Promise.all([answered(), show(false)]);
    assert.equal(asked, before + 1);
    await Promise.all([answered(), page.clock.runFor(6_000)]);
  }));

test("without JavaScript: a directory service is added, a plan is decided about", { timeout: 120_000 }, () => {
  const provider = PROVIDERS.okta;
  return scene("plain", { start: { seed: false, more: withFile(provider) }, javaScriptEnabled: false, as: "ada" }, async (stage, { page, shot, go }) => {
    const { base, token } = await addDirectory(page, provider);
    assert.equal(await page.getByRole("button", { name: "Copy Token" }).count(), 0, "no button that would do nothing");
    await page.getByRole("heading", { name: "Waiting for the first request" }).waitFor();
    await shot("token");
    const it = new Provider("okta", base, token);
    await provider.test(it);
    await provider.user(it);
    await provider.group(it);
    const people = await provider.people(it);
    await provider.join(it, people);
    const names = people.map((one) => one.name);
    await fileNames(stage, [provider.first, ...names], []);
    await go(`/directories/${provider.id}`);
    await page.getByRole("heading", { name: "First group received" }).waitFor();
    await shot("arrived");
    await enter(page, "Users");
    await page.getByRole("searchbox").fill("dana");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByRole("link", { name: provider.first }).waitFor();
    assert.equal(await page.locator("#found tbody tr").count(), 1);
    await shot("search");
    await provider.leave(it);
    assert.equal(await heldPeople(stage, people), people.length);
    await page.reload();
    await page.getByRole("link", { name: `gateway: ${2 * names.length} removals` }).click();
    await page.getByRole("heading", { name: "Held removals at gateway" }).waitFor();
    await shot("held");
    await letGo(page, names[0], "one");
    await fileNames(stage, names.slice(1), [names[0]]);
    await letGo(page, null, "all");
    await fileNames(stage, [provider.first], names);
    await shot("decided");
    await go("/activity");
    await page.getByRole("button", { name: "Keep bodies" }).waitFor();
  });
});
