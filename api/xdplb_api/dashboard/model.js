// SPDX-License-Identifier: Apache-2.0
// What the page knows of the daemon, kept current: by events at once, and by polling for counters.

import { ApiError, ask, follow, vipPath } from "./api.js";
import { vipKey, vipRef } from "./format.js";
import { Rates } from "./rates.js";

const SOONEST_MS = 2000;
const LATEST_MS = 30000;
const BUSY_SHARE = 20; // the daemon spends at most a twentieth of its time on one page,
const HASTY_SHARE = 4; // and a quarter while events say that something has changed
const EVENTS_KEPT = 500;
const AGAIN_MS = [500, 1000, 2000, 4000, 8000];

export class Model {
  constructor(changed) {
    this.changed = changed;
    this.connection = { state: "connecting", since: Date.now(), why: "" };
    this.me = null;
    this.status = null;
    this.rates = new Rates();
    this.stats = null;
    this.nodes = null;
    this.events = [];
    this.latest = null;
    this.missed = false; // whether there were events that are not in `events`
    this.open = null; // the VIP whose page is open, with its backends and checks
    this.refused = null; // why a token is needed
    this.timer = null;
    this.polling = null; // the signal of the poll that runs
    this.spent = 0; // ms that the latest poll took
    this.stopping = new AbortController();
    this.failures = 0;
  }

  /** Begin, or begin anew with another token. */
  start() {
    this.stop();
    this.stopping = new AbortController();
    this.refused = null;
    const { signal } = this.stopping;
    this.following = false;
    this.poll(signal);
  }

  stop() {
    this.stopping.abort();
    clearTimeout(this.timer);
    this.due = undefined;
  }

  get role() {
    return this.me?.role ?? null;
  }

  get mayOperate() {
    return this.role === "operate" || this.role === "admin";
  }

  vip(ref) {
    return this.status?.vips.find((vip) => vipRef(vip) === ref || vipKey(vip) === ref) ?? null;
  }

  rateOf(vip) {
    return this.rates.vips.get(vipKey(vip)) ?? null;
  }

  /** Show a VIP's page: its backends and checks are read with everything else from now on. */
  openVip(ref) {
    if (this.open?.ref === ref) return;
    this.open = ref === null ? null : { ref, backends: null, checks: null };
    if (ref !== null) this.soon(0);
  }

  /** Read everything again in so many ms, or earlier; by itself so late that many events in a row cost the daemon little. */
  soon(ms = Math.min(Math.max(250, this.spent * HASTY_SHARE), LATEST_MS)) {
    if (this.due !== undefined && this.due <= Date.now() + ms) return;
    this.plan(ms);
  }

  plan(ms) {
    clearTimeout(this.timer);
    this.due = Date.now() + ms;
    const { signal } = this.stopping;
    this.timer = setTimeout(() => this.poll(signal), ms);
  }

  async poll(signal) {
    if (signal.aborted || this.polling === signal) return;
    this.polling = signal;
    this.due = undefined;
    const began = performance.now();
    try {
      if (this.me === null) this.me = await ask("GET", "v1/whoami", { signal });
      if (!this.following) {
        this.following = true;
        this.followEvents(signal);
      }
      const [status, stats, nodes] = await Promise.all([
        ask("GET", "v1/status", { signal }),
        ask("GET", "v1/stats", { signal }),
        ask("GET", "v1/nodes", { signal }),
      ]);
      this.status = status;
      this.stats = stats;
      this.nodes = nodes.nodes;
      this.rates.take(stats, Date.now());
      if (this.open) await this.readOpen(this.open, signal);
      this.failures = 0;
      this.say("live", "");
    } catch (error) {
      if (!this.took(error, signal)) return;
    } finally {
      if (this.polling === signal) this.polling = null;
    }
    if (signal.aborted) return;
    this.spent = performance.now() - began;
    const pause = this.failures ? AGAIN_MS[Math.min(this.failures - 1, AGAIN_MS.length - 1)] : this.spent * BUSY_SHARE;
    this.plan(Math.min(Math.max(pause, this.failures ? AGAIN_MS[0] : SOONEST_MS), LATEST_MS) * (document.hidden ? 5 : 1));
    this.changed();
  }

  async readOpen(open, signal) {
    try {
      const [backends, checks] = await Promise.all([
        ask("GET", vipPath(open.ref, "backends"), { signal }),
        ask("GET", vipPath(open.ref, "checks"), { signal }),
      ]);
      open.backends = backends.backends;
      open.checks = checks.checks;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error; // else it was removed, and the page says so
    }
  }

  async followEvents(signal) {
    let failures = 0;
    while (!signal.aborted && this.refused === null) {
      try {
        if (this.latest === null) {
          const page = await ask("GET", "v1/events", { query: { order: "desc", limit: 100 }, signal });
          this.events = page.events;
          this.latest = page.latest;
          this.missed = false;
        }
        await follow(this.latest, (message) => this.takeMessage(message), () => (failures = 0), signal);
      } catch (error) {
        if (!this.took(error, signal)) return;
      }
      const pause = AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)];
      failures += 1;
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  takeMessage(message) {
    if (message.id !== null) this.latest = Number(message.id);
    if (message.event === "missed") this.missed = true; // they were too many to be kept until now
    if (!message.data || message.event !== "message") return;
    this.events = [JSON.parse(message.data), ...this.events].slice(0, EVENTS_KEPT);
    this.soon();
    this.changed();
  }

  /** Note what went wrong; return whether to go on. */
  took(error, signal) {
    if (signal.aborted) return false;
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
      this.refused = error;
      this.me = null;
      this.changed();
      return false;
    }
    this.failures += 1;
    this.say("lost", error instanceof ApiError ? error.message : "the daemon does not answer");
    return true;
  }

  say(state, why) {
    if (this.connection.state !== state || this.connection.why !== why) {
      this.connection = { state, why, since: Date.now() };
      this.changed();
    }
  }
}
