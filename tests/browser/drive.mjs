// SPDX-License-Identifier: Apache-2.0
// Drives a real browser over the dashboard, as pytest asks: a line of JSON on stdin for each scenario, and one on stdout
// for what it found. One browser serves them all; each scenario has a context of its own, so that none sees another's tokens.
//
// Told in any case: every request's host, what the console said, and errors of the page's scripts.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// Playwright switches off most of what Chromium does by itself, but not all. Its maker's names are not there for this one,
// so that whatever else is seen on the network is the page's doing. (Would the page ask for them, `hosts` had them.)
const SILENT = `--host-resolver-rules=${["google.com", "googleapis.com", "gstatic.com", "gvt1.com"].map((name) => `MAP *.${name} ~NOTFOUND`).join(", ")}`;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};
const say = (told) => console.log(JSON.stringify(told));

const { executable, patience } = await next();
const SECONDS = patience * 1000;
const browser = await chromium.launch({ executablePath: executable, args: ["--no-sandbox", "--disable-dev-shm-usage", SILENT] });

let asked, context, page, told;

const open = (route, token = asked.token) => page.goto(`${asked.base}/#${token ? `token=${token}` : route}`);
const heading = (text) => page.getByRole("heading", { level: 1, name: text }).waitFor();
const live = () => page.getByText("live", { exact: true }).waitFor({ timeout: 60 * SECONDS });
const card = (address) => page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: address, exact: true }) });

async function go(route, name) {
  await page.goto(`${asked.base}/#/${route}`);
  await heading(name);
}

/** Open a VIP's page and wait for its backends. */
async function goVip(vip = asked.vip) {
  await go(`vip/${vip}`, vip);
  await page.locator(".backend").first().waitFor();
}

const pages = () => [["vips", "VIPs"], [`vip/${asked.vip}`, asked.vip], ["drops", "Drops"], ["events", "Events"], ["nodes", "Nodes"], ["explain", "Explain"]];

async function eachPage(each) {
  for (const [route, name] of pages()) {
    await (route.startsWith("vip/") ? goVip() : go(route, name));
    await each(route);
  }
}

/** Ask the daemon itself, beside the page. */
const api = (path, options = {}) => context.request.fetch(`${asked.base}/${path}`, { ...options, headers: { Authorization: `Bearer ${asked.token}`, ...options.headers } });

async function explainPacket(client) {
  await page.getByLabel("Client").fill(client);
  await page.getByRole("button", { name: "Explain" }).click();
}

/** Say something on the way, and wait until the test lets this go on; return what it adds. */
async function meet(said) {
  say({ said });
  return next();
}

const above0 = /[1-9]/;

/** The rows of the table on the page: their cells, and whether a curve is drawn. */
const rows = () => page.locator("tbody tr").evaluateAll((each) => each.map((row) => ({ cells: [...row.cells].map((cell) => cell.innerText), curve: /L/.test(row.querySelector(".curve path")?.getAttribute("d") ?? "") })));

/** Call this until what it returns is true. */
async function eventually(true_, what) {
  for (const end = Date.now() + 60 * SECONDS; !(await true_()); await page.waitForTimeout(100)) if (Date.now() > end) throw new Error(`never ${what}`);
}

const fact = (of, name) => of.locator(".fact", { has: page.locator("dt", { hasText: name }) }).locator("dd").innerText();

/** The dialog of a change, once it says what that would do: itself, what it says, and what to call to go ahead. */
async function foreseen(button) {
  const dialog = page.getByRole("dialog");
  await dialog.getByText("What it does").waitFor();
  const effect = await dialog.innerText();
  return [dialog, effect, () => dialog.getByRole("button", { name: button, exact: true }).click()];
}

const SCENARIOS = {
  /** Each page, with real traffic on it. */
  async pages() {
    await open();
    await heading("VIPs");
    await live();
    told.found.address = page.url();
    await eventually(async () => (await rows()).filter((row) => above0.test(row.cells[3])).length >= asked.busy, "rates of as many VIPs");
    await eventually(async () => (await rows()).every((row) => row.curve), "a curve of each VIP");
    told.found.vips = await rows();
    told.found.totals = await page.locator(".totals").innerText();
    await goVip();
    await eventually(async () => above0.test(await fact(card(asked.backend), "Latency")), "a latency");
    await eventually(async () => above0.test(await fact(card(asked.backend), "Packets/s")), "a backend's rate");
    await page.locator(".plot canvas").waitFor();
    told.found.vip = await page.locator("main").innerText();
    await go("drops", "Drops");
    await eventually(async () => (await rows()).some((row) => row.cells[0] === "denied" && above0.test(row.cells[2])), "a rate of drops");
    await go("events", "Events");
    await page.locator("tbody tr").first().waitFor();
    told.found.events = await page.locator("main").innerText();
    await go("nodes", "Nodes");
    await page.locator("tbody tr").first().waitFor();
    told.found.nodes = await page.locator("main").innerText();
  },

  /** Only that a VIP has rates, as a reader of the quickstart sees them. */
  async traffic() {
    await open();
    await heading("VIPs");
    await live();
    const rates = async () => (await rows()).find((row) => row.cells[0].startsWith(asked.vip))?.cells.slice(3, 6) ?? [];
    await eventually(async () => (await rates()).length === 3 && (await rates()).every((each) => above0.test(each)), "rates of the VIP");
    told.found.rates = await rates();
    if (asked.picture) await page.screenshot({ path: asked.picture });
  },

  async drain() {
    await open();
    await goVip();
    const backend = card(asked.backend);
    await backend.getByRole("button", { name: "Drain" }).click();
    const [dialog, effect, confirm] = await foreseen("Drain");
    const { flows } = await meet(effect);
    await confirm();
    await dialog.getByText("The drain begins").or(dialog.locator(".drain")).first().waitFor();
    await meet("begun");
    await dialog.filter({ hasText: `${flows} recorded connections left` }).waitFor({ timeout: 90 * SECONDS });
    await meet("all are recorded");
    await dialog.getByText("Certificate of the drain").click({ timeout: 90 * SECONDS });
    told.found.certificate = await dialog.locator(".certificate").innerText();
    await dialog.getByRole("button", { name: "Close" }).click();
    told.found.card = await backend.innerText();
    await backend.getByRole("button", { name: "Undrain" }).click();
    const [again, , undo] = await foreseen("Undrain");
    await undo();
    await again.getByText("Done").waitFor();
    await again.getByRole("button", { name: "Close" }).click();
    await backend.getByRole("button", { name: "Drain", exact: true }).waitFor();
  },

  async refused() {
    await open("/vips", "");
    await heading("A token, please");
    told.found.first = await page.locator("main").innerText();
    await page.getByLabel("Token").fill("xdplb_wrong");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").waitFor();
    told.found.second = await page.getByRole("alert").innerText();
    await page.getByLabel("Token").fill(asked.token);
    await page.getByRole("button", { name: "Log in" }).click();
    await heading("VIPs");
  },

  /** The daemon ends, and another one starts, while the page is open. */
  async restart() {
    await open();
    await heading("VIPs");
    await live();
    await meet("live");
    await page.getByRole("alert").waitFor({ timeout: 60 * SECONDS });
    await meet(await page.getByRole("alert").innerText());
    await live();
    told.found.alerts = await page.getByRole("alert").count();
    await eventually(async () => (await rows()).some((row) => above0.test(row.cells[3])), "a rate again");
  },

  async explainReal() {
    await open();
    await go("explain", "Explain");
    await page.getByLabel("VIP, or any address").fill(asked.vip);
    await explainPacket(asked.client);
    await page.locator(".way").waitFor({ timeout: 60 * SECONDS });
    told.found.way = await page.getByRole("status").innerText();
  },

  /** The pictures of the documentation, once the curves are long enough. */
  async pictures() {
    const draw = async (name, height, scale = "device") => {
      await page.setViewportSize({ width: 1200, height });
      await page.waitForTimeout(500); // what moves has come to rest
      await page.screenshot({ path: `${asked.folder}/${name}.png`, scale });
    };
    await open();
    await heading("VIPs");
    await eventually(async () => (await rows()).every((row) => row.curve), "a curve of each VIP");
    await page.waitForTimeout(asked.seconds * 1000);
    await draw("dashboard", 540);
    await go("explain", "Explain");
    await page.getByLabel("VIP, or any address").fill(asked.vip);
    await explainPacket(asked.client);
    await page.locator(".way").waitFor({ timeout: 60 * SECONDS });
    await draw("dashboard-explain", 480);
    await page.emulateMedia({ colorScheme: "dark" });
    await goVip();
    await page.locator(".plot canvas").waitFor();
    await eventually(async () => above0.test(await fact(card(asked.backend), "Latency")), "a latency");
    await draw("dashboard-vip", 960, "css"); // there is much on it: a picture of 200 kB at most
  },

  /** Another host, so that a test sees that it would be seen. */
  async elsewhere() {
    page.goto("http://192.0.2.1:8080/").catch(() => {});
    await meet("asked");
  },

  async axe() {
    await open();
    await heading("VIPs");
    await eachPage(async (route) => (told.found[route] = await audit()));
    await goVip();
    await page.getByRole("button", { name: "Drain" }).first().click();
    await page.getByRole("dialog").getByText("What it does").waitFor();
    told.found.dialog = await audit();
  },

  /** What many VIPs cost the page: until they are shown, while they are updated, and in memory. */
  async large() {
    await page.addInitScript(() => {
      globalThis.blocked = [];
      new PerformanceObserver((list) => globalThis.blocked.push(...list.getEntries().map((each) => each.duration))).observe({ type: "longtask" });
    });
    const began = Date.now();
    await open();
    await page.locator("tbody tr").first().waitFor({ timeout: 60 * SECONDS });
    told.found.shown_after_ms = Date.now() - began;
    const polls = async (count) => {
      for (let left = count; left; left -= 1) await page.waitForResponse((answer) => answer.url().endsWith("/v1/stats"), { timeout: 90 * SECONDS });
      await page.waitForTimeout(300);
      return page.evaluate(() => globalThis.blocked.splice(0).map(Math.round));
    };
    told.found.blocked_at_first_ms = await polls(1);
    told.found.blocked_by_updates_ms = await polls(5);
    await goVip();
    await polls(1);
    told.found.blocked_by_updates_of_a_vip_ms = await polls(3);
    const session = await context.newCDPSession(page);
    await session.send("Performance.enable");
    const { metrics } = await session.send("Performance.getMetrics");
    told.found.heap_mb = Math.round(metrics.find((each) => each.name === "JSHeapUsedSize").value / 1e6);
    told.found.nodes = metrics.find((each) => each.name === "Nodes").value;
    await go("vips", "VIPs");
    await page.getByLabel("Filter the VIPs").fill("service-99");
    const typed = Date.now();
    await eventually(async () => (await rows()).every((row) => row.cells[0].includes("service-99")), "only what is asked for");
    told.found.filtered_after_ms = Date.now() - typed;
  },

  async weight() {
    await open();
    await goVip();
    await card("10.0.0.11").getByRole("button", { name: "Weight" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Weight").fill("100000");
    await dialog.getByRole("alert").waitFor();
    told.found.refused = await dialog.getByRole("alert").innerText();
    await dialog.getByLabel("Weight").fill("3");
    await dialog.getByText("What it does").waitFor();
    await dialog.getByRole("button", { name: "Change it" }).click();
    await dialog.getByText("Done").waitFor();
  },

  async reader() {
    await open();
    await goVip();
    told.found.buttons = await page.locator("main button").allInnerTexts();
    told.found.header = await page.locator("header").innerText();
  },

  async keyboard() {
    await open();
    await goVip();
    told.found.focus = [];
    for (let steps = 0; steps < 40; steps += 1) {
      await page.keyboard.press("Tab");
      told.found.focus.push(await page.evaluate(() => document.activeElement?.innerText ?? ""));
      if (told.found.focus.at(-1) === "Drain") break;
    }
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
  },

  async phone() {
    await open();
    await eachPage(async (route) => {
      told.found[route] = await page.evaluate(() => ({
        wider: document.documentElement.scrollWidth - innerWidth,
        scrolled: [...document.querySelectorAll(".scroll")].filter((each) => each.scrollWidth > each.clientWidth).length,
      }));
    });
  },

  async events() {
    await open();
    await go("events", "Events");
    await api("v1/vips/web/backends/10.0.0.11", { method: "PATCH", headers: { "Content-Type": "application/merge-patch+json" }, data: JSON.stringify({ weight: 9 }) });
    await page.locator("tbody tr", { hasText: "operate" }).filter({ hasText: "change" }).first().waitFor({ timeout: 10 * SECONDS });
  },

  async explain() {
    await open();
    await go("explain", "Explain");
    await page.waitForFunction(() => document.querySelectorAll("form.ask input")[1].value !== ""); // the VIPs are read
    await explainPacket("nonsense");
    await page.getByRole("alert").waitFor();
    told.found.refused = await page.getByRole("alert").innerText();
    await explainPacket("192.0.2.7:40000");
    await page.locator(".way").waitFor({ timeout: 60 * SECONDS });
    told.found.way = await page.locator(".way").innerText();
  },
};

async function audit() {
  // Through the protocol, which no CSP stops; in an isolated world it would not see the page.
  await page.evaluate(`${axeSource}; void 0`);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.filter((each) => ["serious", "critical"].includes(each.impact)).map((each) => `${each.id}: ${each.nodes.map((node) => node.html).join(" | ")}`);
}

async function run() {
  context = await browser.newContext({
    colorScheme: asked.scheme ?? "light",
    viewport: { width: asked.width ?? 1280, height: asked.height ?? 800 },
    deviceScaleFactor: asked.scale ?? 1,
    ignoreHTTPSErrors: true, // the certificate is of an authority that this browser does not know
  });
  context.setDefaultTimeout(30 * SECONDS);
  page = await context.newPage();
  told = { hosts: new Set(), console: [], errors: [], found: {} };
  page.on("request", (request) => told.hosts.add(new URL(request.url()).host));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && told.console.push(message.text()));
  page.on("pageerror", (error) => told.errors.push(error.message));
  try {
    await SCENARIOS[asked.scenario]();
  } catch (error) {
    told.failed = `${error.message}\n${await page.locator("body").innerText().catch(() => "")}`;
  }
  await context.close();
  say({ ...told, hosts: [...told.hosts] });
}

say({ ready: browser.version() });
while ((asked = await next())) await run();
await browser.close();
