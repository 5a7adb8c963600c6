// A stage on which much goes on at once, for pictures: a file that somebody edited, receivers that refuse and that are
// gone, a plan that is held, a person shut out, grants, a token that runs out, directories disabled and silent, names
// that are too long.
import { appendFile, readFile } from "node:fs/promises";
import { Stage, until } from "./stage.mjs";

export class Scene extends Stage {
  answers({ url }) {
    if (!this.isTroubled) return super.answers();
    if (url.startsWith("/hooks/audit")) return [422, '{"error":"unknown field \\"department\\"","trace":"7c9e6679-7425-40de-944b-e07fc1f90ae7"}'];
    if (url.startsWith("/hooks/billing")) return [503, "upstream connect error or disconnect/reset before headers"];
    return super.answers();
  }

  more() {
    const receiver = `http://127.0.0.1:${this.receiver.address().port}`;
    return `
[[directory]]
id = "hr-legacy"
kind = "generic"
name = "HR legacy feed"
expect_every = "1s"
[[target]]
name = "vpn-allow-list-for-the-eu-central-gateways"
type = "file"
format = "nginx-map"
path = "${this.file("out/vpn-allow-list-of-everybody-who-may-connect-from-outside.csv")}"
drift = "report"
guard = { max_removals = ["100%"] }
wait = { revoke = "10ms", min = "20ms", max = "200ms" }
[[target]]
name = "audit"
type = "webhook"
url = "${receiver}/hooks/audit/of/every/thing/that/happens/in/the/directory/of/people"
secret_file = "secret"
events = ["access.*", "user.*"]
ordering = "resource"
[[target]]
name = "billing"
type = "webhook"
url = "${receiver}/hooks/billing"
secret_file = "secret"
events = ["access.*"]
`;
  }

  async seed() {
    await super.seed();
    this.isTroubled = true;
    const patch = (...operations) => ({ schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], Operations: operations });
    const legacy = { id: "hr-legacy", token: (await this.command("token", "new", "hr-legacy", "--expires", "9d", "--note", "made for the import")).token };
    const long = await this.user(legacy, "wolfeschlegelsteinhausenbergerdorff.maximiliane.elisabeth@subsidiary.emea.example.com", "Maximiliane Elisabeth", "Wolfeschlegelsteinhausenbergerdorff");
    await this.group(legacy, "CN=All employees of the EMEA region including contractors,OU=Distribution,DC=emea,DC=example,DC=com", [long]);
    await this.command("directory", "disable", "lab-keycloak");
    [{ id: this.shut }] = (await this.scim(this.okta, "GET", "/Users?filter=userName%20sw%20%22jonas%22")).Resources;
    await this.command("shut", `acme-okta/${this.shut}`, "--reason", "laptop stolen at the airport, incident 4711");
    this.person = (await this.scim(this.okta, "GET", "/Users?filter=userName%20sw%20%22chidi%22")).Resources[0].id;
    this.group1 = (await this.scim(this.okta, "GET", "/Groups?filter=displayName%20eq%20%22On-call%22")).Resources[0].id;
    await this.scim(this.okta, "PATCH", `/Users/${this.person}`, patch({ op: "Replace", path: "title", value: "Principal engineer" }));
    await this.scim(this.okta, "GET", "/Users/no-such-id").catch(() => null);
    await this.scim(this.okta, "POST", "/Users", { schemas: ["urn:ietf:params:scim:schemas:core:2.0:User"] }).catch(() => null);
    await this.scim({ token: "wrong" }, "GET", "/ServiceProviderConfig").catch(() => null);
    await this.command("grant", "wanda.lindqvist@example.com", "on-call", "--for", "2d", "--reason", "holiday cover");
    const file = this.file("out/vpn-allow-list-of-everybody-who-may-connect-from-outside.csv");
    const named = async (name) => (await this.command("status")).targets.find((one) => one.name === name);
    const vpn = "vpn-allow-list-for-the-eu-central-gateways";
    await until("a file with everything in it", async () => (await named(vpn)).state === "in_sync" && (await readFile(file, "utf8")).includes("wanda"));
    await appendFile(file, "mallory@example.com\n");
    await until("a drifted file", async () => (await named(vpn)).state === "drifted");
    await until("parked deliveries", async () => (await named("audit")).parked > 0);
  }
}
