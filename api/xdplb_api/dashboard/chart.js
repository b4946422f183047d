// SPDX-License-Identifier: Apache-2.0
// A VIP's packets and new flows of the last minutes, drawn by uPlot (a global of its script).

import { Component, html } from "./html.js";
import { rate } from "./format.js";

const HEIGHT = 190;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600]; // seconds between two labels

export class Chart extends Component {
  componentDidMount() {
    this.resized = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.resized.observe(this.root);
    this.again = () => this.draw();
    addEventListener("xdplb-theme", this.again);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.again);
    this.draw();
  }

  componentDidUpdate() {
    const { history } = this.props;
    if (!this.plot || this.plot.data[0].length === 0) this.draw();
    else if (history) {
      this.plot.setData(this.data());
      this.showLatest(this.plot);
    }
  }

  componentWillUnmount() {
    this.resized.disconnect();
    removeEventListener("xdplb-theme", this.again);
    this.scheme.removeEventListener("change", this.again);
    this.plot?.destroy();
  }

  size() {
    return { width: Math.max(this.root.clientWidth, 200), height: HEIGHT };
  }

  data() {
    const { history } = this.props;
    return history ? [history.at.slice(), history.packets.slice(), history.newFlows.slice()] : [[], [], []];
  }

  /** Have the legend say what is now, unless somebody points at another moment. */
  showLatest(plot) {
    if (!(plot.cursor.left >= 0)) plot.setLegend({ idx: plot.data[0].length - 1 });
  }

  draw() {
    this.plot?.destroy();
    this.plot = null;
    if (!this.props.history || this.props.history.at.length < 2) return;
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: colour("--muted"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const value = (_, found) => (found === null ? "–" : rate(found));
    this.plot = new uPlot(
      {
        ...this.size(),
        cursor: { y: false, points: { size: 6 } },
        hooks: { setCursor: [(plot) => this.showLatest(plot)] },
        series: [
          { label: "At", value: "{HH}:{mm}:{ss}" },
          { label: "Packets/s", stroke: colour("--accent"), width: 1.5, fill: colour("--accent-soft"), value, points: { show: false } },
          { label: "New flows/s", stroke: colour("--second"), width: 1.5, scale: "flows", value, points: { show: false } },
        ],
        scales: { y: { range: (_, low, high) => [0, Math.max(high, 1)] }, flows: { range: (_, low, high) => [0, Math.max(high, 1)] } },
        axes: [
          { ...axis, values: "{HH}:{mm}:{ss}", space: 90, size: 28, incrs: STEPS },
          { ...axis, size: 52, values: (_, found) => found.map((each) => rate(each)) },
          { ...axis, side: 1, scale: "flows", size: 52, grid: { show: false }, values: (_, found) => found.map((each) => rate(each)) },
        ],
      },
      this.data(),
      this.root.querySelector(".plot"),
    );
    this.showLatest(this.plot);
  }

  render({ history }) {
    const few = !history || history.at.length < 2;
    return html`<figure class="chart" ref=${(root) => { if (root) this.root = root; }}><div class="plot"></div>
      ${few && html`<figcaption class="note">The curve begins when the page has read the counters a few times.</figcaption>`}</figure>`;
  }
}
