// SPDX-License-Identifier: Apache-2.0
// The balancers that serve the same VIPs, and this one's own standing.

import { html } from "./html.js";
import { ago, count, percent, rate } from "./format.js";
import { Empty, Status } from "./parts.js";

export function Nodes({ model }) {
  if (!model.nodes || !model.status) return html`<${Empty}>Reading …<//>`;
  const { status } = model;
  return html`<section>
    <div class="head"><h1>Nodes</h1></div>
    <div class="scroll cards" tabindex="0" role="region" aria-label="Nodes"><table>
      <thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col" class="number">Packets/s</th><th scope="col" class="number">Share</th>
        <th scope="col" class="number">VIPs</th><th scope="col" class="number">Backends out</th><th scope="col">Desired state</th><th scope="col">Version</th></tr></thead>
      <tbody>${model.nodes.map((node) => html`<tr key=${node.name}>
        <td>${node.name}${node.this_node && html` <span class="of">this one</span>`}</td>
        <td><${Status} is=${node.state} /><span class="sub">for ${ago(node.since)}</span>${node.not_ready.map((why) => html`<span class="sub reason">${why}</span>`)}</td>
        <td class="number" data-name="Packets/s">${rate(node.packets_per_second)}</td><td class="number" data-name="Share">${percent(node.share)}</td>
        <td class="number" data-name="VIPs">${count(Object.values(node.vips).reduce((sum, each) => sum + each, 0))}</td>
        <td class="number" data-name="Backends out">${count(node.backends_out)}<span class="of"> / ${count(node.backends)}</span></td>
        <td data-name="Desired state">${node.digest_equal === false ? html`<${Status} is="warning" title="it differs from this node's" /> differs` : `generation ${node.generation}`}</td>
        <td data-name="Version">${node.version}</td></tr>`)}</tbody>
    </table></div>
    <h2>This node</h2>
    <ul class="plain">
      <li>${status.ready ? "Ready." : html`Not ready: ${status.not_ready.join("; ")}`}</li>
      <li>Generation ${status.generation}${status.observed_generation === status.generation ? ", which the data plane has." : `; the data plane has ${status.observed_generation}.`}</li>
      ${status.nics.map((nic) => html`<li>${nic.interface}: ${nic.attached ? `attached, ${nic.mode}` : `not attached: ${nic.reason}`}${nic.note ? ` · ${nic.note}` : ""}</li>`)}
      ${status.store && html`<li>Store ${status.store.place}: ${status.store.state}${status.store.reason ? `: ${status.store.reason}` : ""}</li>`}
      ${status.drift.map((each) => html`<li class="warn">${each.what}: ${each.reason}</li>`)}
      ${status.warnings.map((each) => html`<li class="warn">${each}</li>`)}
      ${status.notes.map((each) => html`<li>${each}</li>`)}
    </ul>
  </section>`;
}
