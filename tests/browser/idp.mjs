// An identity provider: sends what one was seen to send, step by step from tests/traces, with any token.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const filled = (value, known) => {
  if (typeof value === "string") {
    return value.replace(/\$\{(\w+)\}/g, (_, name) => {
      assert.ok(name in known, `the trace has used \${${name}} too early`);
      return known[name];
    });
  }
  if (Array.isArray(value)) return value.map((one) => filled(one, known));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, filled(one, known)]));
  }
  return value;
};
const at = (value, pointer) => pointer.split("/").slice(1).reduce((inner, name) => inner?.[name], value);

export class Provider {
  /** `base` and `token` as the console showed them, `kind` as the trace's file is called. */
  constructor(kind, base, token) {
    this.steps = JSON.parse(readFileSync(new URL(`../traces/${kind}.json`, import.meta.url), "utf8")).steps;
    Object.assign(this, { base, token, known: { run: "b7" } });
  }

  /** Plays the step of that name; `change` alters the body, for more people than the trace has. */
  async play(name, { change, token = this.token, status } = {}) {
    const found = this.steps.find((one) => one.name === name);
    assert.ok(found, `the trace has no step “${name}”`);
    const asked = structuredClone(found.request);
    if (change) asked.body = change(asked.body);
    const { method, path, headers, body: sent } = filled(asked, this.known);
    const answer = await fetch(this.base + path, {
      method,
      headers: { Accept: "application/scim+json", Authorization: `Bearer ${token}`, ...headers },
      body: sent ? JSON.stringify(sent) : undefined,
    });
    const text = await answer.text();
    const wanted = status ? [status] : found.expect.status;
    assert.ok(wanted.includes(answer.status), `${name}: wanted ${wanted}, got ${answer.status} ${text}`);
    const json = text ? JSON.parse(text) : null;
    if (answer.status < 300 && !change) {
      for (const [key, pointer] of Object.entries(found.save ?? {})) this.known[key] = at(json, pointer);
    }
    return { status: answer.status, body: json };
  }
}

const FIRST = ["Greta", "Hiro", "Ines", "Jonas", "Katya", "Liam", "Mona"];

/** A person of the trace's step, by another name. */
const another = (given) => (body) => ({
  ...body,
  userName: `${given.toLowerCase()}@example.com`,
  externalId: `${body.externalId}-${given}`,
  displayName: `${given} Roe`,
  name: { ...body.name, givenName: given, familyName: "Roe", ...(body.name.formatted ? { formatted: `${given} Roe` } : {}) },
  emails: body.emails.map((mail) => ({ ...mail, value: `${given.toLowerCase()}@example.com` })),
});
const operation = (value) => (body) => ({ ...body, Operations: [{ ...body.Operations[0], value }] });

/** How each provider does the same things; the words are its trace's. */
export const PROVIDERS = {
  okta: {
    choice: "Okta", vendor: "Okta", name: "Globex Workforce", id: "globex-workforce", crew: "Okta Crew b7", first: "dana.b7@example.com", shown: "Dana Sample",
    agent: "Okta SCIM Client 1.0.0",
    guide: ["SCIM 2.0 Base Url", "OAuth Bearer Token", "Test API Credentials"],
    test: async (it) => {
      await it.play("test connector configuration");
      await it.play("a filter that matches nobody");
    },
    user: async (it) => {
      await it.play("assign: look for the user");
      await it.play("assign: create the user, with a throw-away password");
      await it.play("read it back");
    },
    people: async (it) => {
      const made = [];
      for (const given of FIRST) {
        const { body } = await it.play("assign a second user", { change: another(given) });
        made.push({ id: body.id, name: body.userName });
      }
      return made;
    },
    group: async (it) => {
      await it.play("Group Push: look for the group");
      await it.play("Group Push: create the group");
    },
    join: (it, people) => it.play("Group Push: add two members", {
      change: (body) => operation([{ value: it.known.u, display: PROVIDERS.okta.first }, ...people.map(({ id, name }) => ({ value: id, display: name }))])(body),
    }),
    // "Push now" sends the whole list: whoever is not on it leaves.
    leave: (it) => it.play("Group Push: push now, the whole list"),
  },
  entra: {
    choice: "Microsoft Entra ID", vendor: "Microsoft Entra ID", name: "Initech", id: "initech", crew: "Field Crew b7", first: "mira.b7@example.com", shown: "Mira Vale",
    agent: "", guide: ["Tenant URL", "Secret Token"],
    test: async (it) => {
      await it.play("test connection: look up a user that cannot exist");
      await it.play("test connection: look up a group that cannot exist");
    },
    user: async (it) => {
      await it.play("before create: match on userName finds nothing");
      await it.play("create a user, unset attributes sent as null");
      await it.play("read the user by its id");
      await it.play("add a title", { status: 204 });
    },
    people: async (it) => {
      const made = [];
      for (const given of FIRST) {
        const { body } = await it.play("create a user, unset attributes sent as null", { change: another(given) });
        made.push({ id: body.id, name: body.userName });
      }
      return made;
    },
    group: async (it) => {
      await it.play("before create: match the group by displayName");
      await it.play("create a group without members");
    },
    // It adds and removes them one request each, and is content with 204.
    join: async (it, people) => {
      await it.play("add a member, $ref sent as null", { status: 204 });
      for (const { id } of people) {
        await it.play("add a second member", { change: operation([{ value: id }]), status: 204 });
      }
    },
    leave: async (it, people) => {
      for (const { id } of people) {
        await it.play("remove a member, named by a value array", { change: operation([{ $ref: null, value: id }]), status: 204 });
      }
    },
  },
};
