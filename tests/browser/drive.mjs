// SPDX-License-Identifier: Apache-2.0
// Drives a real browser over the dashboard, as pytest asks: node drive.mjs SCENARIO, with JSON on stdin; JSON on stdout.
//
// Told in any case: every request's host, what the console said, and errors of the page's scripts.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const asked = JSON.parse(readFileSync(0, "utf8"));
const SECONDS = asked.patience * 1000;

const browser = await chromium.launch({ executablePath: asked.chromium, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const context = await browser.newContext({
  colorScheme: asked.scheme ?? "light",
  viewport: { width: asked.width ?? 1280, height: asked.height ?? 800 },
  bypassCSP: false,
});
context.setDefaultTimeout(15 * SECONDS);
const page = await context.newPage();
const told = { hosts: new Set(), console: [], errors: [], found: {} };
page.on("request", (request) => told.hosts.add(new URL(request.url()).host));
page.on("console", (message) => ["error", "warning"].includes(message.type()) && told.console.push(message.text()));
page.on("pageerror", (error) => told.errors.push(error.message));

const open = (route, token = asked.token) => page.goto(`${asked.base}/#${token ? `token=${token}` : route}`);
const heading = (text) => page.getByRole("heading", { level: 1, name: text }).waitFor();

async function go(route, name) {
  await page.goto(`${asked.base}/#/${route}`);
  await heading(name);
}

const PAGES = [["vips", "VIPs"], ["vip/web", "web"], ["drops", "Drops"], ["events", "Events"], ["nodes", "Nodes"], ["explain", "Explain"]];

const SCENARIOS = {
  async pages() {
    await open();
    await heading("VIPs");
    await page.getByText("live", { exact: true }).waitFor();
    told.found.address = page.url();
    for (const [route, name] of PAGES) {
      await go(route, name);
      if (route === "vip/web") await page.getByRole("heading", { level: 3, name: "10.0.0.11" }).waitFor();
      told.found[route] = await page.locator("main").innerText();
      if (asked.pictures) await page.screenshot({ path: `${asked.pictures}/${route.replaceAll("/", "-")}-${asked.scheme}.png` });
    }
  },

  // A daemon with real packets: `rates` is what the table of VIPs says of the first one.
  async traffic() {
    await open();
    await heading("VIPs");
    await page.getByText("live", { exact: true }).waitFor();
    await page.waitForFunction(
      () => [...document.querySelectorAll("tbody tr:first-child td.number")].slice(1).every((cell) => parseFloat(cell.innerText) > 0),
      null,
      { timeout: 60 * SECONDS },
    );
    told.found.rates = (await page.locator("tbody tr").first().locator("td.number").allInnerTexts()).slice(1);
    if (asked.picture) await page.screenshot({ path: asked.picture });
  },

  async axe() {
    await open();
    await heading("VIPs");
    for (const [route, name] of PAGES) {
      await go(route, name);
      if (route === "vip/web") await page.getByRole("heading", { level: 3, name: "10.0.0.11" }).waitFor();
      told.found[route] = await audit();
    }
    await go("vip/web", "web");
    await page.getByRole("button", { name: "Drain" }).first().click();
    await page.getByRole("dialog").getByText("What it does").waitFor();
    told.found.dialog = await audit();
  },

  async drain() {
    await open();
    await go("vip/web", "web");
    const backend = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "10.0.0.12" }) });
    await backend.getByRole("button", { name: "Drain" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("What it does").waitFor();
    told.found.effect = await dialog.innerText();
    told.found.before = await (await fetch(`${asked.base}/v1/vips/web/backends/10.0.0.12`, { headers: { Authorization: `Bearer ${asked.token}` } })).json();
    await dialog.getByRole("button", { name: "Drain" }).click();
    await dialog.getByText("Certificate of the drain").waitFor({ timeout: 60 * SECONDS });
    told.found.after = await dialog.innerText();
    await dialog.getByRole("button", { name: "Close" }).click();
    await backend.getByRole("button", { name: "Undrain" }).waitFor();
    told.found.card = await backend.innerText();
  },

  async weight() {
    await open();
    await go("vip/web", "web");
    const backend = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "10.0.0.11" }) });
    await backend.getByRole("button", { name: "Weight" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Weight").fill("100000");
    await dialog.getByRole("alert").waitFor();
    told.found.refused = await dialog.getByRole("alert").innerText();
    await dialog.getByLabel("Weight").fill("3");
    await dialog.getByText("What it does").waitFor();
    await dialog.getByRole("button", { name: "Change it" }).click();
    await dialog.getByText("Done").waitFor();
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

  async reader() {
    await open();
    await go("vip/web", "web");
    await page.getByRole("heading", { level: 3, name: "10.0.0.11" }).waitFor();
    told.found.buttons = await page.locator("main button").allInnerTexts();
    told.found.header = await page.locator("header").innerText();
  },

  async keyboard() {
    await open();
    await go("vip/web", "web");
    await page.getByRole("heading", { level: 3, name: "10.0.0.11" }).waitFor();
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
    for (const [route, name] of PAGES) {
      await go(route, name);
      told.found[route] = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    }
  },

  async lost() {
    await open();
    await heading("VIPs");
    await page.getByText("live", { exact: true }).waitFor();
    await context.setOffline(true);
    await page.getByRole("alert").waitFor({ timeout: 30 * SECONDS });
    told.found.lost = await page.getByRole("alert").innerText();
    await context.setOffline(false);
    await page.getByText("live", { exact: true }).waitFor({ timeout: 40 * SECONDS });
    told.found.alerts = await page.getByRole("alert").count();
  },

  async live() {
    await open();
    await go("events", "Events");
    await fetch(`${asked.base}/v1/vips/web/backends/10.0.0.11`, {
      method: "PATCH",
      headers: { Authorization: `Bearer ${asked.token}`, "Content-Type": "application/merge-patch+json" },
      body: JSON.stringify({ weight: 9 }),
    });
    await page.locator("tbody tr", { hasText: "operate" }).filter({ hasText: "change" }).first().waitFor({ timeout: 10 * SECONDS });
  },

  async explain() {
    await open();
    await go("explain", "Explain");
    await page.waitForFunction(() => document.querySelectorAll("form.ask input")[1].value !== ""); // the VIPs are read
    await page.getByLabel("Client").fill("nonsense");
    await page.getByRole("button", { name: "Explain" }).click();
    await page.getByRole("alert").waitFor();
    told.found.refused = await page.getByRole("alert").innerText();
    await page.getByLabel("Client").fill("192.0.2.7:40000");
    await page.getByRole("button", { name: "Explain" }).click();
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

try {
  await SCENARIOS[process.argv[2]]();
} catch (error) {
  told.failed = `${error.message}\n${await page.locator("body").innerText().catch(() => "")}`;
}
await browser.close();
console.log(JSON.stringify({ ...told, hosts: [...told.hosts] }));
