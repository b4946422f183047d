// SPDX-License-Identifier: Apache-2.0
// Where packets are dropped, and why.

import { html } from "./html.js";
import { count, rate } from "./format.js";
import { Empty } from "./parts.js";
import { REASONS } from "./reasons.js";

export function Drops({ model }) {
  if (!model.stats) return html`<${Empty}>Reading …<//>`;
  const rows = Object.entries(model.stats.drops)
    .map(([reason, all]) => ({ reason, all, now: model.rates.drops.get(reason) ?? null }))
    .filter((row) => row.all > 0)
    .sort((one, other) => (other.now ?? 0) - (one.now ?? 0) || other.all - one.all);
  const risky = model.stats.vips.filter((vip) => vip.at_risk > 0).sort((one, other) => other.at_risk - one.at_risk);
  return html`<section>
    <div class="head"><h1>Drops</h1></div>
    ${rows.length
      ? html`<div class="scroll" tabindex="0" role="region" aria-label="Drops by reason"><table>
          <thead><tr><th scope="col">Reason</th><th scope="col">What it means</th><th scope="col" class="number">Now, /s</th><th scope="col" class="number">Since counted</th></tr></thead>
          <tbody>${rows.map(({ reason, all, now }) => html`<tr key=${reason}>
            <td><code>${reason}</code></td><td class="long">${REASONS[reason] ?? ""}</td>
            <td class=${`number ${now ? "strong" : ""}`}>${rate(now)}</td><td class="number">${count(all)}</td></tr>`)}</tbody>
        </table></div>`
      : html`<${Empty}>No packet has been dropped.<//>`}
    <h2>Connections at risk</h2>
    <p class="note">Packets in a moving or pinned slot that no record could place. Each may have been one of an open connection that now goes to another backend.</p>
    ${risky.length
      ? html`<ul class="plain">${risky.map((vip) => html`<li><a href=${`#/vip/${encodeURIComponent(vip.vip)}`}>${vip.vip}</a>: ${count(vip.at_risk)}</li>`)}</ul>`
      : html`<${Empty}>None.<//>`}
    <p class="note">Flow records: ${count(model.status?.flows.used)} of ${count(model.status?.flows.capacity)}, ${count(model.status?.flows.evicted)} evicted.</p>
  </section>`;
}
