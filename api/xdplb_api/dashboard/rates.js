// SPDX-License-Identifier: Apache-2.0
// Rates from counters that were read twice. Pure: tests/unit/api/dashboard runs it in node.

const KEPT = 150;

/** Counters of all VIPs, as rates a second, and a short history of each for its curve. */
export class Rates {
  constructor() {
    this.last = null;
    this.vips = new Map();
    this.drops = new Map();
    this.totals = { packets: null, bits: null, newFlows: null, dropped: null };
  }

  /** Take what GET /v1/stats said at `now`, in ms. A counter that fell was started anew: no rate until the next time. */
  take(stats, now) {
    const before = this.last;
    const seconds = before ? (now - before.now) / 1000 : 0;
    this.last = { now, vips: new Map(stats.vips.map((vip) => [vip.vip, vip])), drops: stats.drops };
    if (!before || seconds <= 0) return;
    for (const key of this.vips.keys()) if (!this.last.vips.has(key)) this.vips.delete(key);
    const totals = { packets: 0, bits: 0, newFlows: 0, dropped: 0 };
    for (const vip of stats.vips) {
      const earlier = before.vips.get(vip.vip);
      if (!earlier) continue;
      const found = rateOf(vip, earlier, seconds);
      found.atRisk = per(vip.at_risk, earlier.at_risk, seconds);
      const backends = new Map(earlier.backends.map((each) => [each.backend, each]));
      found.backends = new Map();
      for (const each of vip.backends) {
        const old = backends.get(each.backend);
        if (old) found.backends.set(each.backend, rateOf(each, old, seconds));
      }
      const history = this.vips.get(vip.vip)?.history ?? { at: [], packets: [], bits: [], newFlows: [] };
      push(history, now / 1000, found);
      this.vips.set(vip.vip, { ...found, history });
      totals.packets += found.packets ?? 0;
      totals.bits += found.bits ?? 0;
      totals.newFlows += found.newFlows ?? 0;
    }
    this.drops = new Map();
    for (const [reason, value] of Object.entries(stats.drops)) {
      const found = per(value, before.drops[reason] ?? 0, seconds);
      this.drops.set(reason, found);
      totals.dropped += found ?? 0;
    }
    this.totals = totals;
  }
}

function rateOf(now, before, seconds) {
  const bytes = per(now.bytes, before.bytes, seconds);
  return {
    packets: per(now.packets, before.packets, seconds),
    bits: bytes === null ? null : bytes * 8,
    newFlows: per(now.new_flows, before.new_flows, seconds),
  };
}

function per(now, before, seconds) {
  return now >= before ? (now - before) / seconds : null;
}

function push(history, at, found) {
  history.at.push(at);
  for (const name of ["packets", "bits", "newFlows"]) history[name].push(found[name]);
  if (history.at.length > KEPT) for (const values of Object.values(history)) values.shift();
}

/** A curve in a box of so many units, as SVG paths: the line, and the area below it. Gaps where nothing is known. */
export function curve(values, width, height) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return { line: "", area: "" };
  const top = Math.max(...known, 1e-9);
  const step = width / Math.max(values.length - 1, 1);
  let [line, area] = ["", ""];
  let last = null; // where the line is, if it has begun
  values.forEach((value, place) => {
    const x = (place * step).toFixed(1);
    if (value === null) {
      if (last !== null) area += `L${last} ${height}Z`;
      last = null;
      return;
    }
    const point = `${x} ${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`;
    line += `${last === null ? "M" : "L"}${point}`;
    area += last === null ? `M${x} ${height}L${point}` : `L${point}`;
    last = x;
  });
  if (last !== null) area += `L${last} ${height}Z`;
  return { line, area };
}
