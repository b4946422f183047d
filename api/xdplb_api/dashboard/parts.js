// SPDX-License-Identifier: Apache-2.0
// Small pieces that several pages draw.

import { html } from "./html.js";
import { words } from "./format.js";
import { curve } from "./rates.js";

const KINDS = {
  FAILING_OPEN: "bad", ONLINE: "good", up: "good", serving: "good", drained: "calm", ready: "good",
  DEGRADED: "warn", draining: "warn", unknown: "warn", starting: "warn", timed_out: "warn", drain: "warn", cancelled: "calm",
  OFFLINE: "bad", down: "bad", lost: "bad", cut: "bad", maint: "calm", NO_BACKEND: "calm",
  critical: "bad", error: "bad", warning: "warn", notice: "calm", info: "calm", debug: "calm",
};

/** A status as a word with a dot before it: the colour is never all that tells. */
export function Status({ is, title }) {
  return html`<span class=${`status ${KINDS[is] ?? "calm"}`} title=${title ?? ""}><i aria-hidden="true"></i>${words(is)}</span>`;
}

export function Curve({ values, label }) {
  const { line, area } = curve(values ?? [], 144, 30);
  return html`<svg class="curve" viewBox="0 0 144 30" role="img" aria-label=${label} preserveAspectRatio="none">
    <path class="area" d=${area}></path><path class="line" d=${line} vector-effect="non-scaling-stroke"></path>
  </svg>`;
}

/** A share as a bar with a mark where its weight would have it. */
export function Share({ share, wanted }) {
  const place = (value) => ({ width: `${Math.min(Math.max(value, 0), 1) * 100}%` });
  return html`<span class="share" aria-hidden="true">
    <i style=${place(share ?? 0)}></i>
    ${wanted !== null && html`<b style=${{ left: place(wanted).width }}></b>`}
  </span>`;
}

/** The slots of a VIP as one bar, and what that means as a sentence. */
export function Slots({ slots }) {
  const all = slots.steady + slots.moving + slots.pinned;
  const part = (name) => html`<i class=${name} style=${{ width: `${all ? (slots[name] / all) * 100 : 0}%` }}></i>`;
  return html`<div class="slots">
    <div class="bar" role="img" aria-label=${`steady ${slots.steady}, moving ${slots.moving}, pinned ${slots.pinned} of ${all} slots`}>
      ${part("steady")}${part("moving")}${part("pinned")}
    </div>
    <p class="legend">
      <span class="key steady">steady ${slots.steady}</span>
      <span class="key moving">moving ${slots.moving}</span>
      <span class="key pinned">pinned ${slots.pinned}</span>
    </p>
    <p class="note">${sentence(slots, all)}</p>
  </div>`;
}

function sentence({ moving, pinned }, all) {
  if (!all) return "There is no hash table yet: no backend takes connections.";
  if (!moving && !pinned) {
    return "Every slot of the hash table has had one owner for long enough: packets need no record of their connection.";
  }
  const told = [];
  if (moving) {
    told.push(
      `${moving} of ${all} slots have just changed owners: new connections there go to the new backend, open ones stay with the one they had.`,
    );
  }
  if (pinned) {
    told.push(`${pinned} slots have changed owners before and still have connections that are recorded with their former backend.`);
  }
  return told.join(" ");
}

export function Fact({ name, children }) {
  return html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}
