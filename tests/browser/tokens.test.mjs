import assert from "node:assert/strict";
import { test } from "node:test";
import { addDirectory } from "./guide.mjs";
import { Provider, PROVIDERS } from "./idp.mjs";
import { scene } from "./play.mjs";

const TEST = "test connector configuration";

test("a new token beside the old one, the old one revoked", { timeout: 120_000 }, () =>
  scene("tokens", { start: { seed: false }, as: "ada" }, async (stage, { page, shot }) => {
    const { base, token: old } = await addDirectory(page, PROVIDERS.okta);
    const it = new Provider("okta", base, old);
    await it.play(TEST);
    const home = `${stage.url}/directories/${PROVIDERS.okta.id}`;
    const rows = page.getByRole("table", { name: "Tokens that work" }).getByRole("row").filter({ has: page.getByRole("rowheader") });
    await page.goto(home);
    const first = await rows.getByRole("rowheader").locator(".mono").innerText();
    await shot("one-token");

    await page.getByRole("link", { name: "+ New token" }).click();
    await page.getByLabel("Note (optional)").fill("rotation");
    await page.getByRole("button", { name: "Make token" }).click();
    await page.getByRole("heading", { name: /^New token for/ }).waitFor();
    const fresh = await page.getByLabel("Token", { exact: true }).inputValue();
    assert.notEqual(fresh, old);
    await shot("new-token");
    await it.play(TEST, { token: fresh });
    await it.play(TEST, { token: old });

    // Both work, and the page says by whom and when the old one was used last.
    await page.goto(home);
    assert.equal(await rows.count(), 2);
    const row = rows.filter({ hasText: first });
    const used = row.locator("td[data-label='Last used']");
    assert.match(await used.innerText(), /from 127\.0\.0\.1, Okta SCIM Client/);
    const at = Date.parse(await used.locator("time").getAttribute("datetime"));
    assert.ok(Math.abs(Date.now() - at) < 120_000, "the time it was used last");
    assert.match(await rows.filter({ hasText: "rotation" }).innerText(), /from 127\.0\.0\.1/);
    await shot("two-tokens");

    await row.getByRole("link", { name: "Revoke" }).click();
    await page.getByRole("heading", { name: "Revoke token" }).waitFor();
    assert.match(await page.getByRole("main").innerText(), /from 127\.0\.0\.1[\s\S]*Other tokens that work\s+1/);
    await it.play(TEST, { token: old });
    await shot("revoke");
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.getByText("The token is revoked").waitFor();
    assert.equal(await rows.count(), 1);
    await shot("revoked");
    await it.play(TEST, { token: old, status: 401 });
    await it.play(TEST, { token: fresh, status: 200 });
    await page.getByText("1 token that no longer works").click();
    await page.getByRole("table", { name: "Tokens that no longer work" }).getByText(first).waitFor();
    await shot("the-revoked-one");
  }));
