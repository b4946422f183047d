// SPDX-License-Identifier: Apache-2.0
// One VIP: its curve, its slots, its backends, and what an operator does with them.

import { Component, html } from "./html.js";
import { ago, clock, count, latency, percent, rate, span, vipKey, words } from "./format.js";
import { Chart } from "./chart.js";
import { Empty, Fact, Share, Slots, Status } from "./parts.js";
import { Action } from "./action.js";
import { wantedShare } from "./shares.js";

export class Vip extends Component {
  state = { action: null };

  componentDidMount() {
    this.props.model.openVip(this.props.ref_);
  }

  componentDidUpdate() {
    this.props.model.openVip(this.props.ref_);
  }

  componentWillUnmount() {
    this.props.model.openVip(null);
  }

  render({ model, ref_ }) {
    if (!model.status) return html`<${Empty}>Reading …<//>`;
    const vip = model.vip(ref_);
    if (!vip) {
      return html`<${Empty}>There is no VIP <code>${ref_}</code> (any more). <a href="#/vips">All VIPs</a><//>`;
    }
    const found = model.rateOf(vip);
    const backends = model.open?.ref === ref_ ? model.open.backends : null;
    return html`<section>
      <p class="crumbs"><a href="#/vips">VIPs</a></p>
      <div class="head"><h1>${vip.name ?? vipKey(vip)}</h1><${Status} is=${vip.status.operating_status} /></div>
      ${vip.status.reason && html`<p class="why">${vip.status.reason}</p>`}
      <dl class="facts">
        <${Fact} name="VIP">${vipKey(vip)}<//>
        <${Fact} name="Forward">${vip.forward}<//>
        <${Fact} name="Scheduler">${vip.scheduler}<//>
        <${Fact} name="Packets/s">${rate(found?.packets)}<//>
        <${Fact} name="Bits/s">${rate(found?.bits)}<//>
        <${Fact} name="New flows/s">${rate(found?.newFlows)}<//>
        ${vip.status.announced && html`<${Fact} name="Announced">${vip.status.announced.metric === null ? `no: ${vip.status.announced.reason}` : `yes, metric ${vip.status.announced.metric}`}<//>`}
      </dl>
      <${Chart} history=${found?.history} />
      <h2>Slots</h2>
      <${Slots} slots=${vip.status.slots} />
      <h2>Backends</h2>
      ${backends === null
        ? html`<${Empty}>Reading …<//>`
        : backends.length === 0
          ? html`<${Empty}>There is no backend. <code>xdplb backend add ${ref_} 10.0.0.11</code> adds one.<//>`
          : html`<ul class="backends">${backends.map(
              (each) => html`<${Backend} key=${each.address} backend=${each} wanted=${wantedShare(backends, each)}
                checks=${checksOf(model.open.checks, each.address)} found=${found?.backends?.get(each.address)}
                act=${model.mayOperate ? (what) => this.setState({ action: { what, address: each.address } }) : null} />`,
            )}</ul>`}
      ${this.state.action &&
      html`<${Action} key=${`${this.state.action.what} ${this.state.action.address}`} model=${model} vip=${ref_} ...${this.state.action}
        backend=${backends?.find((each) => each.address === this.state.action.address)} close=${() => this.setState({ action: null })} />`}
    </section>`;
  }
}

function checksOf(checks, address) {
  return (checks ?? []).flatMap((check) =>
    check.status.backends.filter((each) => each.backend === address).map((each) => ({ label: check.label, ...each })),
  );
}

function Backend({ backend, wanted, checks, found, act }) {
  const { status } = backend;
  const drain = status.drain;
  return html`<li class="backend">
    <div class="title">
      <h3>${backend.address}</h3>
      <${Status} is=${status.health} />${status.since && html`<span class="of">for ${ago(status.since)}</span>`}
      ${backend.admin_state !== "ready" && html`<${Status} is=${backend.admin_state} />`}
      ${backend.role !== "primary" && html`<span class="tag">${backend.role}</span>`}
      ${status.pending && html`<span class="tag">not written to the store yet</span>`}
    </div>
    ${status.reason && html`<p class="why">${status.reason}</p>`}
    ${status.ejection && html`<p class="why">Taken out for now: ${status.ejection.reason} · back in ${span((Date.parse(status.ejection.until) - Date.now()) / 1000)}</p>`}
    <dl class="facts small">
      <${Fact} name="Share">${percent(status.share)}<${Share} share=${status.share} wanted=${wanted} /><//>
      <${Fact} name="Weight">${backend.weight}${wanted === null ? "" : html` <span class="of">asks for ${percent(wanted)}</span>`}<//>
      <${Fact} name="Packets/s">${rate(found?.packets)}<//>
      <${Fact} name="New flows/s">${rate(found?.newFlows)}<//>
      <${Fact} name="Latency p50 / p99">${latency(status.handshakes?.p50_seconds)} / ${latency(status.handshakes?.p99_seconds)}<//>
      <${Fact} name="Forward">${backend.forward}${backend.port ? ` to port ${backend.port}` : ""}${status.interface ? html` <span class="of">by ${status.interface}</span>` : ""}<//>
    </dl>
    ${checks.map((each) => html`<p class="check"><${Status} is=${each.health} /> ${each.label}: ${each.reason}${" "}
      <span class="of">last ${each.last_run ? `${ago(each.last_run)} ago, ${latency(each.last_seconds)}` : "not yet"}</span></p>`)}
    ${drain && html`<${Drain} drain=${drain} />`}
    ${status.certificate && status.certificate.outcome !== "draining" && html`<${Certificate} of=${status.certificate} />`}
    ${act && html`<p class="actions">
      ${backend.admin_state === "drain"
        ? html`<button onClick=${() => act("undrain")}>Undrain</button>`
        : html`<button onClick=${() => act("drain")} disabled=${backend.admin_state === "maint"}>Drain</button>`}
      <button onClick=${() => act("weight")}>Weight</button>
      ${backend.admin_state === "maint"
        ? html`<button onClick=${() => act("ready")}>End maintenance</button>`
        : html`<button onClick=${() => act("maint")}>Maintenance</button>`}
    </p>`}
  </li>`;
}

/** How far a drain is. */
export function Drain({ drain }) {
  const total = Date.parse(drain.deadline) - Date.parse(drain.started);
  const done = drain.state === "draining" ? Math.min(1, (Date.now() - Date.parse(drain.started)) / total) : 1;
  const left = (Date.parse(drain.deadline) - Date.now()) / 1000;
  return html`<div class="drain">
    <progress value=${done} max="1" aria-label="time of the drain that has passed"></progress>
    <p class="note"><strong>${words(drain.state)}</strong>
      ${drain.flows !== null ? ` · ${count(drain.flows)} recorded connections left` : ""}
      ${drain.state === "draining" ? ` · ${span(left)} until the timeout${drain.cut_at_deadline ? ", when what is left is cut" : ""}` : ""}</p>
  </div>`;
}

/** What came of the connections of a backend that was drained. */
export function Certificate({ of }) {
  const rows = [
    ["seen", of.seen], ["ended by themselves", of.ended], ["handed over", of.handed_over], ["cut", of.cut],
    ["broken", of.broken], ["not accounted for", of.lost], ["still open", of.left], ["silent, so not seen, at most", of.silent_at_most],
  ].filter(([, value]) => value !== null && value !== undefined);
  return html`<details class="certificate"><summary>Certificate of the drain: <strong>${words(of.outcome)}</strong> at ${clock(of.until)}, after ${span(of.seconds)}</summary>
    <p class="note">${of.why}</p>
    <dl class="facts small">${rows.map(([name, value]) => html`<${Fact} name=${name}>${count(value)}<//>`)}</dl>
  </details>`;
}
