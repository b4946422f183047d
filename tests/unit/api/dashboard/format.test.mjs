// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, clock, count, latency, percent, rate, span, vipKey, vipRef, words } from "../../../../api/xdplb_api/dashboard/format.js";

test("rates have three digits and a prefix", () => {
  const cases = [[0, "0"], [0.4, "0.4"], [9.96, "10.0"], [12.34, "12"], [999.4, "999"], [999.6, "1.00 k"], [12345, "12.3 k"], [123456, "123 k"], [4.567e6, "4.57 M"], [9.99e12, "9.99 T"], [5e15, "5000 T"]];
  for (const [value, text] of cases) assert.ok(rate(value).replace(/\.0$/, "") === text.replace(/\.0$/, "") , `${value}: ${rate(value)} is not ${text}`);
  for (const none of [null, undefined, NaN, Infinity]) assert.equal(rate(none), "–");
  assert.equal(rate(-3), "0");
});

test("counts have their thousands apart", () => {
  assert.equal(count(1234567), "1\u202f234\u202f567");
  assert.equal(count(0), "0");
  assert.equal(count(null), "–");
});

test("shares, latencies and spans", () => {
  assert.equal(percent(0.256), "26 %");
  assert.equal(percent(0.0123), "1.2 %");
  assert.equal(percent(0), "0 %");
  assert.equal(latency(0.00042), "0.42 ms");
  assert.equal(latency(0.0421), "42 ms");
  assert.equal(latency(1.25), "1.3 s");
  assert.equal(span(59.4), "59 s");
  assert.equal(span(60), "1 min");
  assert.equal(span(7500), "2 h 5 min");
  assert.equal(span(7200), "2 h");
  assert.equal(span(200000), "2 d");
  assert.equal(span(-5), "0 s");
  assert.equal(ago("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:03:00Z")), "3 min");
  assert.equal(ago(null), "–");
});

test("VIPs are named as commands name them", () => {
  const vip = { name: null, address: "203.0.113.10", port: 80, last_port: null, protocol: "tcp" };
  assert.equal(vipKey(vip), "203.0.113.10:80/tcp");
  assert.equal(vipKey({ ...vip, address: "2001:db8::/64", port: 443, last_port: 499, protocol: "tcp+udp" }), "[2001:db8::/64]:443-499/tcp+udp");
  assert.equal(vipKey({ ...vip, port: 0 }), "203.0.113.10:0/tcp");
  assert.equal(vipRef({ ...vip, name: "web" }), "web");
  assert.equal(words("NO_BACKEND"), "no backend");
});

test("a moment of another day is told with its day", () => {
  const now = new Date(2026, 10, 29, 12, 0, 0).valueOf();
  assert.equal(clock(new Date(2026, 10, 29, 6, 5, 4).toISOString(), now), "06:05:04");
  assert.equal(clock(new Date(2026, 10, 28, 6, 5, 4).toISOString(), now), "2026-11-28 06:05:04");
  assert.equal(clock("no moment", now), "–");
});
