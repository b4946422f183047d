// SPDX-License-Identifier: Apache-2.0
// What an operator does with a backend: first what it would do, then the button that does it, then what came of it.

import { Component, html } from "./html.js";
import { ApiError, ask, vipPath } from "./api.js";
import { count } from "./format.js";
import { Certificate, Drain } from "./vip.js";

const AGAIN_MS = 3000; // long enough to read what went wrong

const TITLES = {
  drain: "Drain", undrain: "Undrain", weight: "Change the weight of", maint: "Take into maintenance", ready: "End the maintenance of",
};

const SAYS = {
  drain: "It gets no new connections. Open ones stay until they end.",
  undrain: "It gets new connections again.",
  weight: "Its share of new connections follows its weight.",
  maint: "It gets nothing at all, at once: its open connections break.",
  ready: "It is used again as soon as its checks pass.",
};

export class Action extends Component {
  constructor(props) {
    super(props);
    this.state = { step: "asking", effect: null, error: null, weight: String(props.backend?.weight ?? 1), minutes: "10", cut: false };
  }

  componentDidMount() {
    this.root.showModal();
    this.foresee();
  }

  request() {
    const { what, vip, address } = this.props;
    const path = vipPath(vip, "backends", address);
    switch (what) {
      case "drain":
        return ["POST", `${path}/drain`, { timeout_seconds: Number(this.state.minutes) * 60, cut_at_deadline: this.state.cut }];
      case "undrain":
        return ["DELETE", `${path}/drain`, undefined];
      case "weight":
        return ["PATCH", path, { weight: Number(this.state.weight) }];
      default:
        return ["PATCH", path, { admin_state: what }];
    }
  }

  async foresee() {
    const [method, path, body] = this.request();
    const generation = this.props.backend?.generation;
    const asked = (this.asked = {});
    try {
      const effect = await ask(method, path, { body, generation, query: { dry_run: "true" } });
      if (this.asked === asked) this.setState({ effect, generation, error: null });
    } catch (error) {
      if (this.asked === asked) this.setState({ effect: null, error });
    }
  }

  /** Do what was foreseen: if somebody has changed the backend since, nothing is done, and it is foreseen anew. */
  async act() {
    const [method, path, body] = this.request();
    this.setState({ step: "acting" });
    try {
      await ask(method, path, { body, generation: this.state.generation });
      this.props.model.soon(0);
      this.setState({ step: "done", error: null });
    } catch (error) {
      this.setState({ step: "asking", effect: null, error });
      this.props.model.soon(0);
      this.waiting = setTimeout(() => this.foresee(), AGAIN_MS);
    }
  }

  change(values) {
    this.setState({ ...values, effect: null }, () => {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.foresee(), 300);
    });
  }

  render({ what, vip, address, backend, close }, { step, effect, error }) {
    const isDrain = what === "drain";
    return html`<dialog class="action" ref=${(root) => { if (root) this.root = root; }} aria-labelledby="action-title" onClose=${close}>
      <form method="dialog" onSubmit=${(event) => { event.preventDefault(); if (step === "asking" && effect) this.act(); }}>
        <h2 id="action-title">${TITLES[what]} ${address}</h2>
        <p>${SAYS[what]}</p>
        ${step !== "done" && what === "weight" && html`<label>Weight <input type="number" min="0" max="65535" step="1" required value=${this.state.weight}
          onInput=${(event) => this.change({ weight: event.target.value })} /></label>`}
        ${step !== "done" && isDrain && html`<label>Timeout, in minutes <input type="number" min="0.1" step="any" required value=${this.state.minutes}
          onInput=${(event) => this.change({ minutes: event.target.value })} /></label>
          <label class="tick"><input type="checkbox" checked=${this.state.cut} onInput=${(event) => this.change({ cut: event.target.checked })} />
            Cut what is still open then</label>`}
        ${step !== "done" && html`<${Effect} effect=${effect} error=${error} />`}
        ${step === "done" && (isDrain ? html`<${Progress} backend=${backend} />` : html`<p role="status">Done: the data plane has it.</p>`)}
        <p class="actions">
          ${step !== "done" && html`<button class="primary" disabled=${step === "acting" || !effect}>${TITLES[what].split(" ")[0] === "Change" ? "Change it" : isDrain || what === "undrain" ? TITLES[what] : "Do it"}</button>`}
          <button type="button" onClick=${() => this.root.close()}>${step === "done" ? "Close" : "Cancel"}</button>
        </p>
      </form>
    </dialog>`;
  }
}

function Effect({ effect, error }) {
  if (error) return html`<div class="effect bad" role="alert"><p>${error.message}</p>${error instanceof ApiError && error.hint && html`<p class="note">${error.hint}</p>`}</div>`;
  if (!effect) return html`<div class="effect" role="status"><p>Working out what it would do …</p></div>`;
  return html`<div class="effect" role="status">
    <h3>What it does</h3>
    <ul>
      ${effect.changes.length ? effect.changes.map((each) => html`<li>${each}</li>`) : html`<li>Nothing: it is so already.</li>`}
      <li>${slots(effect.impact.slots)}</li>
      <li>${risk(effect.impact.connections_at_risk)}</li>
      ${effect.impact.lose_all_traffic.map((each) => html`<li class="warn">${each.backend} of ${each.vip} loses all its traffic.</li>`)}
      ${effect.warnings.map((each) => html`<li class="warn">${each.detail}</li>`)}
    </ul>
  </div>`;
}

function slots({ moved }) {
  return moved ? `${count(moved)} slots of the hash table change owners.` : "No slot of the hash table changes its owner.";
}

function risk({ expected, at_most }) {
  if (at_most === 0 || (at_most === null && expected === 0)) return "No open connection is at risk.";
  if (at_most === null) return "How many open connections may break is not known.";
  return `Of the open connections ${expected === null ? "" : `about ${count(expected)}, and `}at most ${count(at_most)} may break.`;
}

function Progress({ backend }) {
  if (!backend) return html`<p role="status">The backend is gone.</p>`;
  const { drain, certificate } = backend.status;
  return html`<div role="status">
    ${drain ? html`<${Drain} drain=${drain} />` : html`<p>The drain begins …</p>`}
    ${certificate && certificate.outcome !== "draining" && html`<${Certificate} of=${certificate} />`}
  </div>`;
}
