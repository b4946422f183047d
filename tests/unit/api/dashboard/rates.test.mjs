// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseBlock } from "../../../../api/xdplb_api/dashboard/api.js";
import { curve, Rates } from "../../../../api/xdplb_api/dashboard/rates.js";

const backend = (packets) => ({ backend: "10.0.0.11", packets, bytes: packets * 100, new_flows: 0 });
const vip = (packets, flows) => ({ vip: "a", packets, bytes: packets * 100, new_flows: flows, at_risk: 0, backends: [backend(packets)] });

test("two readings give a rate, one gives none", () => {
  const rates = new Rates();
  rates.take({ vips: [vip(100, 1)], drops: { ttl: 5 } }, 1000);
  assert.equal(rates.vips.size, 0);
  assert.equal(rates.totals.packets, null);
  rates.take({ vips: [vip(300, 5)], drops: { ttl: 9 } }, 3000);
  const found = rates.vips.get("a");
  assert.equal(found.packets, 100);
  assert.equal(found.bits, 80000);
  assert.equal(found.newFlows, 2);
  assert.equal(found.backends.get("10.0.0.11").packets, 100);
  assert.equal(rates.drops.get("ttl"), 2);
  assert.equal(rates.totals.dropped, 2);
});

test("a counter that fell has no rate, and one that is new neither", () => {
  const rates = new Rates();
  rates.take({ vips: [vip(100, 1)], drops: {} }, 0);
  rates.take({ vips: [vip(10, 0), { ...vip(7, 0), vip: "b" }], drops: {} }, 1000);
  assert.equal(rates.vips.get("a").packets, null);
  assert.equal(rates.vips.has("b"), false);
  rates.take({ vips: [{ ...vip(9, 0), vip: "b" }], drops: {} }, 2000);
  assert.equal(rates.vips.has("a"), false);
  assert.equal(rates.vips.get("b").packets, 2);
});

test("a history is bounded", () => {
  const rates = new Rates();
  for (let place = 0; place < 500; place += 1) rates.take({ vips: [vip(place, 0)], drops: {} }, place * 1000);
  assert.equal(rates.vips.get("a").history.at.length, 150);
});

test("a curve has gaps where nothing is known", () => {
  assert.deepEqual(curve([], 10, 10), { line: "", area: "" });
  assert.deepEqual(curve([0, 10], 10, 10), { line: "M0.0 9.0L10.0 1.0", area: "M0.0 10L0.0 9.0L10.0 1.0L10.0 10Z" });
  const { line, area } = curve([1, 1, null, 1, 1], 8, 10);
  assert.equal(line, "M0.0 1.0L2.0 1.0M6.0 1.0L8.0 1.0");
  assert.equal(area, "M0.0 10L0.0 1.0L2.0 1.0L2.0 10ZM6.0 10L6.0 1.0L8.0 1.0L8.0 10Z");
});

test("messages of the event stream", () => {
  assert.deepEqual(parseBlock("id: 7\ndata: {}"), { id: "7", event: "message", data: "{}" });
  assert.deepEqual(parseBlock("event: missed\ndata:a\ndata: b"), { id: null, event: "missed", data: "a\nb" });
  assert.equal(parseBlock(": nothing new").data, "");
});
