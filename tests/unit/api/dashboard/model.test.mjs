// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

const kept = new Map();
globalThis.sessionStorage = { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value), removeItem: (name) => kept.delete(name) };
globalThis.location = { hash: "", pathname: "/", search: "" };
globalThis.history = { replaceState: (_state, _title, address) => (location.hash = address.slice(address.indexOf("#"))) };
globalThis.document = { hidden: false };

const { ask, decoded, takeTokenFromAddress } = await import("../../../../api/xdplb_api/dashboard/api.js");
const { Model } = await import("../../../../api/xdplb_api/dashboard/model.js");

test("a token in the address is taken once and leaves it", () => {
  location.hash = "#token=abc%5F1";
  assert.equal(takeTokenFromAddress(), true);
  assert.equal(sessionStorage.getItem("xdplb-token"), "abc_1");
  assert.equal(location.hash, "#/vips");
  assert.equal(takeTokenFromAddress(), false);
});

test("an address that is not well-formed is taken as it is", () => assert.equal(decoded("web%"), "web%"));

test("a daemon that hangs is said not to answer", async () => {
  globalThis.fetch = (_path, { signal }) => new Promise((_, fail) => signal.addEventListener("abort", () => fail(signal.reason)));
  const alive = setTimeout(() => {}, 5000); // the timer of a signal alone does not keep node running
  await assert.rejects(ask("GET", "v1/status", { patience: 20 }), /the daemon does not answer/);
  clearTimeout(alive);
});

test("a new start reads also while the poll before it is still under way", async () => {
  const paths = [];
  globalThis.fetch = (path, { signal }) => {
    paths.push(path);
    return new Promise((_, fail) => signal.addEventListener("abort", () => fail(signal.reason)));
  };
  const model = new Model(() => {});
  model.start();
  model.start();
  assert.deepEqual(paths, ["v1/whoami", "v1/whoami"]);
  model.stop();
});

test("events in a row do not make a slow daemon be read more often", () => {
  const model = new Model(() => {});
  model.spent = 2000;
  model.soon();
  assert.ok(model.due - Date.now() > 7000);
  model.stop();
});
