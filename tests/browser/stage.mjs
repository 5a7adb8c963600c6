// A daemon with people in it, for tests and screenshots: 30 users, 8 groups, a file, a webhook, a published bundle,
// and a plan the guard holds. Everything is on loopback and in a folder of its own, which goes at the end.
import { spawn, execFile } from "node:child_process";
import { mkdtemp, mkdir, writeFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
/** The binary under test: `ROSTERD`, else what cargo built. */
export const BINARY = process.env.ROSTERD
  ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "debug/rosterd");

export const PASSWORD = "correct horse battery";
export const USERS = { ada: "admin", olga: "operate", vic: "view" };

const freePort = () => new Promise((done, failed) => {
  const server = net.createServer().once("error", failed);
  server.listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => done(port)); });
});

const isFree = (port) => new Promise((done, failed) => {
  const server = net.createServer().once("error", failed);
  server.listen(port, "127.0.0.1", () => server.close(done));
});

/** Waits until `probe` gives something, at most 20 seconds. */
export async function until(what, probe) {
  const end = Date.now() + 20_000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export class Stage {
  /** Starts a daemon; with `seed` there are people in it. `more` makes further configuration of the stage. */
  static async start({ seed = true, more = () => "" } = {}) {
    const stage = new this();
    stage.further = more;
    stage.dir = await mkdtemp(path.join(os.tmpdir(), "rosterd-browser-"));
    [stage.port, stage.scimPort] = [await freePort(), await freePort()];
    stage.url = `http://127.0.0.1:${stage.port}`;
    stage.received = [];
    stage.receiver = createServer((request, response) => {
      let body = "";
      request.on("data", (piece) => { body += piece; });
      request.on("end", () => {
        stage.received.push(body);
        const [status, said] = stage.answers(request);
        response.writeHead(status).end(said);
      });
    });
    await new Promise((done) => stage.receiver.listen(0, "127.0.0.1", done));
    try {
      await stage.configure(seed);
      await stage.run();
      if (seed) await stage.seed();
    } catch (error) {
      await stage.stop();
      throw error;
    }
    return stage;
  }

  file(name) { return path.join(this.dir, name); }

  /** What the receiver of webhooks answers: status and body. */
  answers() { return [this.refuses ? 503 : 204, ""]; }

  async configure(withTargets) {
    await Promise.all(["state", "out"].map((name) => mkdir(this.file(name), { recursive: true })));
    const people = Object.entries(USERS)
      .map(([name, role]) => `[[admin.user]]\nname = "${name}"\npassword_file = "password"\nrole = "${role}"\n`);
    await writeFile(this.file("password"), PASSWORD, { mode: 0o600 });
    await writeFile(this.file("secret"), "whsec_" + Buffer.alloc(32, 7).toString("base64"), { mode: 0o600 });
    const targets = `
[[role]]
name = "db-admin"
groups = ["Database Admins"]
directories = ["acme-okta"]
[[role]]
name = "on-call"
groups = ["On-call"]
directories = ["acme-okta"]
[[role]]
name = "engineer"
groups = ["Platform", "Payments", "Mobile"]
directories = ["acme-okta"]
[guard]
max_removals = ["20%", 500]
min_removals = 3
[[target]]
name = "opa"
type = "file"
format = "opa-data"
path = "${this.file("out/access.json")}"
publish = true
wait = { revoke = "10ms", min = "20ms", max = "200ms" }
[[target]]
name = "gateway"
type = "file"
format = "nginx-map"
path = "${this.file("out/gateway.map")}"
wait = { revoke = "10ms", min = "20ms", max = "200ms" }
[[target]]
name = "app"
type = "webhook"
url = "http://127.0.0.1:${this.receiver.address().port}/hooks/roster"
secret_file = "secret"
events = ["access.*"]
`;
    await writeFile(this.file("rosterd.toml"), `
[server]
listen = ["127.0.0.1:${this.scimPort}"]
[admin]
socket = "${this.file("admin.sock")}"
listen = "127.0.0.1:${this.port}"
${people.join("")}
[mirror]
path = "${this.file("state/mirror.db")}"
${withTargets ? targets + this.more() : ""}${this.further(this)}`);
  }

  /** More of the configuration. */
  more() { return ""; }

  async run() {
    this.process = spawn(BINARY, ["--config", this.file("rosterd.toml"), "serve"], { stdio: ["ignore", "pipe", "pipe"] });
    // A test that is cut short takes its daemon along.
    this.last = () => this.process.kill("SIGKILL");
    process.once("exit", this.last);
    this.log = "";
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on("data", (piece) => { this.log += piece; });
    }
    await until("a daemon that answers", async () => {
      if (this.process.exitCode !== null) throw new Error(this.log);
      return fetch(`${this.url}/healthz`).then((answer) => answer.ok, () => false);
    }).catch((error) => { throw new Error(`${error.message}\n${this.log}`); });
  }

  /** A command of rosterd's, and what it answers as JSON. */
  async command(...words) {
    const { stdout } = await run(BINARY, ["--config", this.file("rosterd.toml"), ...words, "--json"]);
    return stdout.trim() ? JSON.parse(stdout) : null;
  }

  async scim(directory, method, where, body) {
    const answer = await fetch(`http://127.0.0.1:${this.scimPort}/scim/v2${where}`, {
      method,
      headers: { authorization: `Bearer ${directory.token}`, "content-type": "application/scim+json" },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  user(directory, name, given, family, more = {}) {
    return this.scim(directory, "POST", "/Users", {
      schemas: ["urn:ietf:params:scim:schemas:core:2.0:User"], userName: name, externalId: `00u${name.length}${name}`,
      name: { givenName: given, familyName: family }, displayName: `${given} ${family}`,
      emails: [{ value: name, type: "work", primary: true }], active: true, ...more,
    });
  }

  group(directory, name, members) {
    return this.scim(directory, "POST", "/Groups", {
      schemas: ["urn:ietf:params:scim:schemas:core:2.0:Group"], displayName: name,
      members: members.map((user) => ({ value: user.id, display: user.userName })),
    });
  }

  /** 30 people in 8 groups, one who left, and more leaving at once than the guard lets go. */
  async seed() {
    const okta = this.okta = await this.command("directory", "add", "Acme Okta", "--kind", "okta");
    const entra = this.entra = await this.command("directory", "add", "Acme Subsidiary", "--kind", "entra");
    await this.command("directory", "add", "Lab Keycloak", "--kind", "keycloak");
    const given = ["Ada", "Bruno", "Chidi", "Dana", "Elif", "Farid", "Grete", "Hiro", "Ines", "Jonas", "Katya", "Liam", "Mona", "Nils", "Oluchi",
      "Pavel", "Quinn", "Rosa", "Samir", "Tuva", "Uma", "Viktor", "Wanda", "Xenia", "Yusuf", "Zoë"];
    const family = ["Okafor", "Lindqvist", "Moreau", "Tanaka", "Kowalski", "Haddad", "Novák"];
    const people = [];
    for (const [n, name] of given.entries()) {
      const last = family[n % family.length];
      people.push(await this.user(okta, `${name}.${last}@example.com`.toLowerCase().normalize("NFD").replace(/\p{M}/gu, ""), name, last,
        { title: n % 3 ? "Engineer" : "Lead", userType: n % 5 ? "Employee" : "Contractor" }));
    }
    const others = [];
    for (const name of ["Arlo", "Bea", "Cleo", "Dov"]) {
      others.push(await this.user(entra, `${name.toLowerCase()}@sub.example.com`, name, "Marsh"));
    }
    const pick = (...from) => people.filter((_, n) => from.includes(n));
    const admins = await this.group(okta, "Database Admins", pick(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
    await this.group(okta, "On-call", pick(1, 3, 5, 7));
    await this.group(okta, "Platform", pick(0, 1, 2, 3, 10, 11, 12));
    await this.group(okta, "Payments", pick(4, 5, 6, 13, 14, 15, 16));
    await this.group(okta, "Mobile", pick(7, 8, 17, 18, 19, 20));
    await this.group(okta, "Finance", pick(21, 22, 23));
    await this.group(okta, "All staff", people);
    await this.group(entra, "Subsidiary staff", others);
    const status = () => this.command("status");
    await until("targets in sync", async () => (await status()).targets.every((one) => one.state === "in_sync"));
    await this.scim(okta, "PATCH", `/Users/${people[25].id}`, {
      schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], Operations: [{ op: "replace", value: { active: false } }],
    });
    await this.command("grant", people[10].userName, "on-call", "--for", "8h", "--reason", "covers for Bruno");
    await this.scim(okta, "PATCH", `/Groups/${admins.id}`, {
      schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
      Operations: [{ op: "replace", path: "members", value: pick(0, 1).map((user) => ({ value: user.id })) }],
    });
    await until("a held plan", async () => (await status()).targets.some((one) => one.held_removals > 0));
  }

  /** Ends the daemon alone; `run` starts it again on the same ports. */
  async halt() {
    if (!this.process) return;
    process.removeListener("exit", this.last);
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((done) => this.process.once("exit", done));
    this.process.kill("SIGTERM");
    await ended;
  }

  /** Ends everything; both ports are free afterwards, or it fails. */
  async stop() {
    await this.halt();
    this.receiver.closeAllConnections();
    this.receiver.close();
    await rm(this.dir, { recursive: true, force: true });
    await Promise.all([this.port, this.scimPort].map(isFree));
  }
}
