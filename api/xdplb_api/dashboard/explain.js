// SPDX-License-Identifier: Apache-2.0
// A packet's way, step by step, as the reference model and the program in the kernel say it.

import { Component, html } from "./html.js";
import { ApiError, ask } from "./api.js";
import { vipRef } from "./format.js";
import { Empty } from "./parts.js";

const COMPILING_MS = 60000;

export class Explain extends Component {
  state = { client: "192.0.2.7:40000", vip: "", packet: "syn", down: "", asking: false, told: null, error: null };

  async submit(event) {
    event.preventDefault();
    const { client, vip, packet, down } = this.state;
    this.setState({ asking: true, error: null });
    try {
      const query = { client, vip: vip || this.first() };
      if (!query.vip.endsWith("/udp")) query.packet = packet;
      if (down) query.if_down = down;
      this.setState({ told: await ask("GET", "v1/explain", { query, patience: COMPILING_MS }), asking: false });
    } catch (error) {
      this.setState({ told: null, error, asking: false });
    }
  }

  first() {
    const vip = this.props.model.status?.vips[0];
    return vip ? vipRef(vip) : "";
  }

  render({ model }, { client, vip, packet, down, asking, told, error }) {
    const set = (name) => (event) => this.setState({ [name]: event.target.value });
    return html`<section>
      <div class="head"><h1>Explain</h1></div>
      <p class="note">What would happen to a packet, and why. Nothing is sent, counted or recorded. The first question takes some seconds: the program is compiled for it.</p>
      <form class="ask" onSubmit=${(event) => this.submit(event)}>
        <label>Client <input required value=${client} onInput=${set("client")} placeholder="192.0.2.7:40000" /></label>
        <label>VIP, or any address <input required list="vips" value=${vip || this.first()} onInput=${set("vip")} placeholder="203.0.113.10:443/tcp" /></label>
        <datalist id="vips">${(model.status?.vips ?? []).slice(0, 200).map((each) => html`<option value=${vipRef(each)} />`)}</datalist>
        <label>Packet <select value=${packet} onInput=${set("packet")}><option value="syn">the first (SYN)</option><option value="established">of an open connection</option></select></label>
        <label>If this backend were down <input value=${down} onInput=${set("down")} placeholder="10.0.0.11" /></label>
        <button class="primary" disabled=${asking}>${asking ? "Asking …" : "Explain"}</button>
      </form>
      ${error && html`<div class="effect bad" role="alert"><p>${error.message}</p>${error instanceof ApiError && error.hint && html`<p class="note">${error.hint}</p>`}</div>`}
      ${told ? html`<${Way} told=${told} />` : !error && html`<${Empty}>Ask about a client and a VIP.<//>`}
    </section>`;
  }
}

function Way({ told }) {
  const { packet } = told;
  return html`<div role="status">
    <ol class="way">
      <${Step} name="Packet">${`${packet.client}:${packet.client_port} → ${packet.address}:${packet.port}/${packet.protocol}`}<small>${packet.kind}, in by ${packet.interface}</small><//>
      <${Step} name="VIP">${told.vip ?? "none: it is not for a VIP"}<//>
      ${told.slot && html`<${Step} name="Slot">${`number ${told.slot.number}, ${told.slot.state}`}<small>${`owner ${told.slot.owner ?? "nobody"}`}${told.slot.previous ? `, before ${told.slot.previous}` : ""}</small><//>`}
      ${told.record && html`<${Step} name="Record">${told.record.backend ?? "nobody"}<small>${`${told.record.age_seconds.toFixed(0)} s old`}</small><//>`}
      ${told.backend && html`<${Step} name="Backend">${told.backend}<small>chosen by ${told.chosen_by}</small><//>`}
      <${Step} name=${told.action === "send" ? "Sent" : told.action} is=${told.action === "drop" ? "bad" : "good"}>
        ${told.sent ? `${told.sent.forward} to ${told.sent.next_hop.mac} by ${told.sent.next_hop.interface}` : (told.reason ?? "to the host")}
        ${told.sent?.outer && html`<small>${`outer header ${told.sent.outer.source} → ${told.sent.outer.destination}`}</small>`}<//>
    </ol>
    <ul class="plain">${told.why.map((each) => html`<li>${each}</li>`)}</ul>
    ${told.agree === true && html`<p class="note"><span class="status good"><i aria-hidden="true"></i></span> The model and the program in the kernel agree.</p>`}
    ${told.agree === false && html`<div class="effect bad"><p>The model and the program differ. That is a bug: please report it.</p><ul>${told.differences.map((each) => html`<li>${each.what}: the model says ${each.model}, the program ${each.program}</li>`)}</ul></div>`}
    ${told.note && html`<p class="note">${told.note}</p>`}
  </div>`;
}

function Step({ name, is, children }) {
  return html`<li class=${is ?? ""}><span class="step">${name}</span><span>${children}</span></li>`;
}
