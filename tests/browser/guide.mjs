// The whole set-up guide of one provider, as a person goes through it: from “+ Add directory service” to a held plan
// that is decided about.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Provider, PROVIDERS } from "./idp.mjs";
import { scene } from "./play.mjs";
import { until } from "./stage.mjs";

/** A file of who may what, by one group of that provider's, with a guard. */
export const withFile = (provider) => (stage) => `
[guard]
max_removals = ["20%", 500]
min_removals = 3
[[role]]
name = "crew"
groups = ["${provider.crew}"]
directories = ["${provider.id}"]
[[target]]
name = "gateway"
type = "file"
format = "nginx-map"
path = "${stage.file("out/gateway.map")}"
wait = { revoke = "10ms", min = "20ms", max = "200ms" }
`;

export const written = (stage) => readFile(stage.file("out/gateway.map"), "utf8").catch(() => "");
/** Waits until the file names all of some people and none of others. */
export const fileNames = (stage, all, none) => until(`a file with ${all} and without ${none}`, async () => {
  const text = await written(stage);
  return all.every((name) => text.includes(name)) && !none.some((name) => text.includes(name));
});

/** A page by its entry in the navigation. */
export const enter = (page, name) => page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();

/** Adds the directory by its form; gives base URL and token as the page shows them. */
export async function addDirectory(page, provider) {
  await enter(page, "Directory services");
  await page.getByRole("link", { name: "+ Add directory service" }).first().click();
  await page.getByLabel(provider.choice, { exact: true }).check();
  await page.getByLabel("Name", { exact: true }).fill(provider.name);
  await page.getByRole("button", { name: "Add directory service" }).click();
  await page.getByRole("heading", { name: `Set up ${provider.name}` }).waitFor();
  const [base, token] = await Promise.all(["Base URL", "Token"].map((label) => page.getByLabel(label, { exact: true }).inputValue()));
  return { base, token };
}

/** Waits until those of `people` that the file still names are all held, each with a group and a role; gives how many. */
export const heldPeople = (stage, people) => until("a held plan", async () => {
  const [{ held_removals: removals }] = (await stage.command("status")).targets;
  const text = await written(stage);
  const count = people.filter((one) => text.includes(one.name)).length;
  return removals > 0 && removals === 2 * count && count;
});

/** On the page of what is held: ticks one person, or takes all, and says yes. */
export async function letGo(page, who, reason) {
  if (who) await page.getByRole("checkbox", { name: who }).check();
  await page.getByRole("button", { name: who ? "Approve those ticked…" : /^Approve all \d+ removals…$/ }).click();
  await page.getByRole("heading", { name: /^Approve removals at/ }).waitFor();
  await page.getByLabel("Reason").fill(reason);
  await page.getByRole("button", { name: /^Approve \d+ removals?$/ }).click();
  await page.getByRole("heading", { name: /removals? approved$/ }).waitFor();
}

export const setUp = (kind) => {
  const provider = PROVIDERS[kind];
  return scene(kind, { start: { seed: false, more: withFile(provider) } }, async (stage, player) => {
    await player.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: stage.url });
    await go(stage, player, kind, provider);
  });
};

async function go(stage, player, kind, provider) {
  const { page, shot, heading } = player;
  await player.go("/");
  await shot("sign-in");
  await player.as("ada");
  await shot("overview");

  // The token, once, and into the clipboard.
  const { base, token } = await addDirectory(page, provider);
  assert.match(token, /^\S{32,}$/);
  assert.equal(new URL(base).port, String(stage.scimPort));
  await shot("token-shown-once");
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  for (const [button, value] of [["Copy Token", token], ["Copy Base URL", base]]) {
    const found = page.getByRole("button", { name: button });
    const box = await found.elementHandle();
    await found.click();
    await page.waitForFunction((one) => one.textContent === "Copied", box);
    assert.equal(await clipboard(), value, button);
  }
  await shot("copied");

  // The guide: this provider's, with this installation's values and nobody else's.
  const guide = await page.locator("section[aria-labelledby=guide]").evaluate((section) => section.textContent);
  for (const text of [base, provider.name, ...provider.guide]) assert.ok(guide.includes(text), `the guide says ${text}`);
  assert.ok(!guide.includes("scim.example.com"), "the guide has no example's address left");
  assert.ok(!guide.includes(token), "the token stands in its field alone");

  // The provider pushes while the page stays open.
  await page.evaluate(() => { window.stayed = true; });
  const live = page.locator("[data-live]");
  await heading("Waiting for the first request", live);
  await shot("waiting");
  const it = new Provider(kind, base, token);
  await it.play(kind === "okta" ? "test connector with a malformed Authorization header" : "test connection with a wrong token");
  await provider.test(it);
  await heading("Connection test received", live);
  assert.equal(await live.getByRole("heading", { name: "First user received" }).count(), 0);
  if (provider.agent) assert.ok((await live.innerText()).includes(provider.agent), `the panel names ${provider.agent}: ${await live.innerText()}`);
  await shot("connection-test-received");
  await provider.user(it);
  await heading("First user received", live);
  assert.ok((await live.innerText()).includes(provider.shown), `the panel names ${provider.shown}: ${await live.innerText()}`);
  await shot("first-user");
  await provider.group(it);
  await heading("First group received", live);
  assert.ok((await live.innerText()).includes(provider.crew), `the panel names ${provider.crew}: ${await live.innerText()}`);
  await shot("first-group");
  assert.equal(await page.evaluate(() => window.stayed), true, "all of it without a reload");
  assert.equal(await page.getByLabel("Token", { exact: true }).inputValue(), token);
  const people = await provider.people(it);
  await provider.join(it, people);
  await fileNames(stage, [provider.first, ...people.map((one) => one.name)], []);

  // Shown this once.
  await page.getByRole("link", { name: "I have copied it" }).click();
  await page.getByRole("heading", { name: provider.name }).first().waitFor();
  assert.ok(!(await page.content()).includes(token), "the token is never shown again");
  await shot("directory");

  // People and groups.
  await enter(page, "Users");
  await page.getByRole("link", { name: provider.first }).waitFor();
  assert.equal(await page.locator("#found tbody tr").count(), 1 + people.length);
  await shot("users");
  await page.getByRole("link", { name: provider.first }).click();
  await page.getByRole("heading", { name: "Roles, and why" }).waitFor();
  await page.getByRole("link", { name: provider.crew }).first().waitFor();
  await shot("user");
  await enter(page, "Groups");
  await page.getByRole("link", { name: provider.crew }).click();
  await page.getByText(`${1 + people.length} direct members`).waitFor();
  await shot("group");

  // Too many leave at once: they are held, and keep what they have.
  await provider.leave(it, people);
  // (Where they leave one by one, the first are within the guard's limits and go.)
  const held = await heldPeople(stage, people);
  assert.ok(held > 2);
  await enter(page, "Groups");
  const banner = page.getByRole("link", { name: `gateway: ${2 * held} removals` });
  await banner.waitFor();
  await shot("banner");
  await banner.click();
  await page.getByRole("heading", { name: "Held removals at gateway" }).waitFor();
  assert.equal(await page.getByRole("checkbox").count(), held);
  await shot("held");

  // One, then the rest.
  const [one, ...rest] = await page.locator("#people-table label.check").allInnerTexts().then((all) => all.map((name) => name.trim()));
  await letGo(page, one, "left the crew in June");
  await shot("one-let-go");
  await fileNames(stage, rest, [one]);
  await letGo(page, null, "the crew is dissolved");
  await page.getByText("Nothing is held any more.").first().waitFor();
  await shot("all-let-go");
  await fileNames(stage, [provider.first], [one, ...rest]);
  assert.equal(await page.getByRole("link", { name: /^gateway: \d+ removals?$/ }).count(), 0, "the banner is gone");

  // Who did it.
  await enter(page, "History");
  for (const reason of ["left the crew in June", "the crew is dissolved"]) {
    const entry = page.locator("ol.changes > li").filter({ hasText: reason });
    assert.match(await entry.locator(".by").innerText(), /by ada$/);
  }
  await shot("history");
}
