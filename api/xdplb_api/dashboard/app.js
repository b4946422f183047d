// SPDX-License-Identifier: Apache-2.0
// The dashboard: which page is shown, and whether the daemon still answers.

import { Component, html, render } from "./html.js";
import { decoded, hasToken, setToken, takeTokenFromAddress } from "./api.js";
import { rate, span } from "./format.js";
import { Model } from "./model.js";
import { Vips } from "./vips.js";
import { Vip } from "./vip.js";
import { Drops } from "./drops.js";
import { Events } from "./events.js";
import { Nodes } from "./nodes.js";
import { Explain } from "./explain.js";

const PAGES = { vips: ["VIPs", Vips], drops: ["Drops", Drops], events: ["Events", Events], nodes: ["Nodes", Nodes], explain: ["Explain", Explain] };

class App extends Component {
  constructor() {
    super();
    this.model = new Model(() => this.later());
    this.state = { page: page() };
  }

  componentDidMount() {
    addEventListener("hashchange", () => {
      if (takeTokenFromAddress()) this.begin();
      this.setState({ page: page(), broken: null });
      document.getElementById("main")?.focus();
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.model.soon(0));
    setInterval(() => this.forceUpdate(), 1000); // what says "42 s ago"
    this.model.start();
  }

  /** Draw at most once a frame, however many events come. */
  later() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.forceUpdate();
    });
  }

  login(token) {
    setToken(token);
    this.begin();
  }

  /** Begin as whom the token says, or as nobody. */
  begin() {
    this.model.me = null;
    this.model.latest = null;
    this.model.start();
    this.forceUpdate();
  }

  componentDidCatch(error) {
    console.error(error);
    this.setState({ broken: error });
  }

  render(_, { page: [name, rest], broken }) {
    const { model } = this;
    document.title = `${name === "vip" ? rest : PAGES[name][0]} · xdplb`;
    const Page = name === "vip" ? Vip : PAGES[name][1];
    return html`<div class="frame">
      <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
      <header>
        <a class="brand" href="#/vips"><img src="dashboard/icon.svg" alt="" width="22" height="22" />xdplb</a>
        <nav aria-label="Pages">${Object.entries(PAGES).map(
          ([key, [label]]) => html`<a href=${`#/${key}`} aria-current=${key === name || (key === "vips" && name === "vip") ? "page" : undefined}>${label}</a>`,
        )}</nav>
        <${Totals} model=${model} />
        <${Connection} model=${model} logout=${() => this.login(null)} />
      </header>
      ${model.connection.state === "lost" && !model.refused && html`<p class="banner" role="alert">The connection to the daemon is lost since ${span((Date.now() - model.connection.since) / 1000)}: ${model.connection.why}. What is shown is from before. Trying again …</p>`}
      <main id="main" tabindex="-1">
        ${broken ? html`<p class="effect bad" role="alert">This page cannot be drawn: ${String(broken.message)}. The others can; please report it.</p>` : model.refused ? html`<${Login} error=${model.refused} login=${(token) => this.login(token)} />` : html`<${Page} model=${model} ref_=${rest} key=${name + rest} />`}
      </main>
    </div>`;
  }
}

function page() {
  const [, name, ...rest] = location.hash.split("/");
  if (name === "vip" && rest.length) return ["vip", decoded(rest.join("/"))];
  return [Object.hasOwn(PAGES, name ?? "") ? name : "vips", ""];
}

function Totals({ model }) {
  const { totals } = model.rates;
  return html`<dl class="totals">
    <div><dt>packets/s</dt><dd>${rate(totals.packets)}</dd></div>
    <div><dt>bits/s</dt><dd>${rate(totals.bits)}</dd></div>
    <div><dt>new flows/s</dt><dd>${rate(totals.newFlows)}</dd></div>
    <div><dt>drops/s</dt><dd>${rate(totals.dropped)}</dd></div>
  </dl>`;
}

function Connection({ model, logout }) {
  const { state } = model.connection;
  const text = state === "live" ? "live" : state === "lost" ? "connection lost" : "connecting";
  return html`<div class="who">
    <span class=${`status ${state === "live" ? "good" : state === "lost" ? "bad" : "warn"}`}><i aria-hidden="true"></i>${text}</span>
    ${model.role && html`<span class="of">role ${model.role}</span>`}
    ${hasToken() && html`<button class="quiet" onClick=${logout}>Log out</button>`}
    <button class="quiet" onClick=${turn} aria-label="Dark or light">◐</button>
  </div>`;
}

function turn() {
  const { dataset } = document.documentElement;
  const isDark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("xdplb-theme", dataset.theme);
  dispatchEvent(new Event("xdplb-theme"));
}

class Login extends Component {
  state = { token: "" };

  render({ error, login }, { token }) {
    const wrong = hasToken();
    return html`<form class="login" onSubmit=${(event) => { event.preventDefault(); login(token.trim()); }}>
      <h1>A token, please</h1>
      <p>On TCP the API wants to know who asks. <code>xdplb token add NAME --role operate</code> on the balancer prints a token; with the role <code>read</code> this page only shows.</p>
      ${wrong && html`<p class="effect bad" role="alert">${error.message}</p>`}
      <label>Token <input type="password" autocomplete="off" required value=${token} onInput=${(event) => this.setState({ token: event.target.value })} /></label>
      <p class="note">It is kept in this tab until you close it or log out.</p>
      <p class="actions"><button class="primary">Log in</button></p>
    </form>`;
  }
}

takeTokenFromAddress();
render(html`<${App} />`, document.getElementById("app"));
