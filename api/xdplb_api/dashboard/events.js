// SPDX-License-Identifier: Apache-2.0
// What has happened, and what happens, newest first.

import { Component, html } from "./html.js";
import { clock, words } from "./format.js";
import { Empty, Status } from "./parts.js";

export class Events extends Component {
  state = { filter: "" };

  render({ model }, { filter }) {
    const wanted = filter.trim().toLowerCase();
    const rows = model.events.filter(
      (each) => !wanted || `${each.kind} ${each.level} ${each.vip ?? ""} ${each.backend ?? ""} ${each.message}`.toLowerCase().includes(wanted),
    );
    return html`<section>
      <div class="head"><h1>Events</h1>
        <input type="search" placeholder="Filter" aria-label="Filter the events" value=${filter} onInput=${(event) => this.setState({ filter: event.target.value })} /></div>
      ${model.missed && html`<p class="note">Some events happened that are not here: more came than are kept, while nothing read them.</p>`}
      ${rows.length
        ? html`<div class="scroll" tabindex="0" role="region" aria-label="Events"><table class="events">
            <thead><tr><th scope="col">Time</th><th scope="col">Level</th><th scope="col">Kind</th><th scope="col">What happened</th></tr></thead>
            <tbody>${rows.slice(0, 200).map((each) => html`<tr key=${each.id}>
              <td class="time"><time datetime=${each.time} title=${each.time}>${clock(each.time)}</time></td>
              <td><${Status} is=${each.level} /></td><td>${words(each.kind)}</td>
              <td class="long">${each.message}${each.actor?.kind && html` <span class="of">by ${who(each.actor)}</span>`}</td></tr>`)}</tbody>
          </table></div>`
        : html`<${Empty}>${model.events.length ? "No event has this in it." : "Nothing has happened yet."}<//>`}
    </section>`;
  }
}

function who(actor) {
  return actor.token ?? actor.user ?? actor.certificate ?? actor.peer ?? actor.kind;
}
