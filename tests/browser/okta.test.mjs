import { test } from "node:test";
import { setUp } from "./guide.mjs";

test("Okta, from “+ Add directory service” to a plan that is decided about", { timeout: 120_000 }, () => setUp("okta"));
