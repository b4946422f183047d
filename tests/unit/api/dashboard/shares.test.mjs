// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { wantedShare } from "../../../../api/xdplb_api/dashboard/shares.js";

const backend = (weight, more = {}) => ({ weight, admin_state: "ready", role: "primary", ...more });

test("a weight asks for its part of the weights of all primaries that are to serve", () => {
  const all = [backend(1), backend(3), backend(5, { admin_state: "drain" }), backend(4, { role: "backup" })];
  assert.deepEqual(all.map((each) => wantedShare(all, each)), [0.25, 0.75, 0, null]);
});

test("where no primary has a weight, none asks for anything", () => {
  const all = [backend(0), backend(2, { admin_state: "maint" })];
  assert.deepEqual(all.map((each) => wantedShare(all, each)), [null, null]);
});
