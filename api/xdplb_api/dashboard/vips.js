// SPDX-License-Identifier: Apache-2.0
// All VIPs: how each is, and how much it gets.

import { Component, html } from "./html.js";
import { count, rate, vipKey, vipRef } from "./format.js";
import { Curve, Empty, Status } from "./parts.js";

const ON_A_PAGE = 50;
const WORST_FIRST = ["OFFLINE", "FAILING_OPEN", "DEGRADED", "NO_BACKEND", "ONLINE"];

const COLUMNS = [
  { name: "VIP", key: (vip) => vipRef(vip), text: true },
  { name: "Status", key: (vip) => WORST_FIRST.indexOf(vip.status.operating_status), text: true },
  { name: "Backends", key: (vip) => vip.status.backends_serving },
  { name: "Packets/s", key: (vip, found) => found?.packets ?? -1 },
  { name: "Bits/s", key: (vip, found) => found?.bits ?? -1 },
  { name: "New flows/s", key: (vip, found) => found?.newFlows ?? -1 },
];

export class Vips extends Component {
  state = { filter: "", by: 1, down: false, page: 0 };

  sort(place) {
    const again = this.state.by === place;
    this.setState({ by: place, down: again ? !this.state.down : !COLUMNS[place].text, page: 0 });
  }

  rows() {
    const { model } = this.props;
    const wanted = this.state.filter.trim().toLowerCase();
    const column = COLUMNS[this.state.by];
    const found = model.status.vips
      .filter((vip) => !wanted || `${vip.name ?? ""} ${vipKey(vip)} ${vip.status.operating_status}`.toLowerCase().includes(wanted))
      .map((vip) => ({ vip, found: model.rateOf(vip) }));
    const order = this.state.down ? -1 : 1;
    return found.sort((one, other) => {
      const [a, b] = [column.key(one.vip, one.found), column.key(other.vip, other.found)];
      return order * (a < b ? -1 : a > b ? 1 : 0) || (vipRef(one.vip) < vipRef(other.vip) ? -1 : 1);
    });
  }

  render({ model }) {
    if (!model.status) return html`<${Empty}>Reading …<//>`;
    if (!model.status.vips.length) {
      return html`<${Empty}>There is no VIP yet. <code>xdplb vip add 203.0.113.10:80/tcp --forward dr</code> adds one.<//>`;
    }
    const rows = this.rows();
    const pages = Math.max(1, Math.ceil(rows.length / ON_A_PAGE));
    const page = Math.min(this.state.page, pages - 1);
    return html`<section>
      <div class="head">
        <h1>VIPs</h1>
        <input type="search" placeholder="Filter" aria-label="Filter the VIPs" value=${this.state.filter}
          onInput=${(event) => this.setState({ filter: event.target.value, page: 0 })} />
      </div>
      <div class="scroll cards" tabindex="0" role="region" aria-label="VIPs"><table>
        <thead><tr>
          ${COLUMNS.map(
            (column, place) => html`<th scope="col" class=${column.text ? "" : "number"}
              aria-sort=${this.state.by === place ? (this.state.down ? "descending" : "ascending") : "none"}>
              <button class="sort" onClick=${() => this.sort(place)}>${column.name}</button></th>`,
          )}
          <th scope="col">Packets, 5 min</th>
        </tr></thead>
        <tbody>${rows.slice(page * ON_A_PAGE, (page + 1) * ON_A_PAGE).map(({ vip, found }) => html`<${Row} key=${vipKey(vip)} vip=${vip} found=${found} />`)}</tbody>
      </table></div>
      ${!rows.length && html`<${Empty}>No VIP has “${this.state.filter}” in its name, address or status.<//>`}
      ${pages > 1 && html`<p class="pages">
        <button disabled=${page === 0} onClick=${() => this.setState({ page: page - 1 })}>Previous</button>
        <span>${page * ON_A_PAGE + 1}–${Math.min((page + 1) * ON_A_PAGE, rows.length)} of ${rows.length}</span>
        <button disabled=${page === pages - 1} onClick=${() => this.setState({ page: page + 1 })}>Next</button>
      </p>`}
    </section>`;
  }
}

function Row({ vip, found }) {
  const { status } = vip;
  return html`<tr>
    <td><a href=${`#/vip/${encodeURIComponent(vipRef(vip))}`}>${vipRef(vip)}</a>
      <span class="sub">${vip.name ? `${vipKey(vip)} · ` : ""}${vip.forward} · ${vip.scheduler}</span></td>
    <td><${Status} is=${status.operating_status} />${status.reason && html`<span class="sub reason">${status.reason}</span>`}</td>
    <td class="number" data-name="Backends">${count(status.backends_serving)}<span class="of"> / ${count(status.backends)}</span></td>
    <td class="number" data-name="Packets/s">${rate(found?.packets)}</td>
    <td class="number" data-name="Bits/s">${rate(found?.bits)}</td>
    <td class="number" data-name="New flows/s">${rate(found?.newFlows)}</td>
    <td class="wide"><${Curve} values=${found?.history.packets} label=${`packets a second: now ${rate(found?.packets)}`} /></td>
  </tr>`;
}
