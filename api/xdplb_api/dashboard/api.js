// SPDX-License-Identifier: Apache-2.0
// The API, as the page asks it: with a token where there is one. EventSource cannot send a header, so events are read by fetch.

const TOKEN = "xdplb-token";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the daemon answered with ${status}`);
    this.status = status;
    this.problem = problem;
    this.hint = problem.hint || "";
  }
}

const ANSWER_MS = 10000; // a daemon that works answers in far less; a hung one must not look alive
const SILENCE_MS = 45000; // three of the stream's heartbeats

/** Take a token from the page's own address (#token=…) and remove it there, so that it is in no history. Whether there was one. */
export function takeTokenFromAddress() {
  const found = /^#token=([^&]+)$/.exec(location.hash);
  if (!found) return false;
  setToken(decoded(found[1]));
  history.replaceState(null, "", `${location.pathname}${location.search}#/vips`);
  return true;
}

/** Undo percent signs; what is not well-formed stays as it is. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

function headers(more) {
  const token = sessionStorage.getItem(TOKEN);
  return { "Xdplb-Client": "dashboard", ...(token ? { Authorization: `Bearer ${token}` } : {}), ...more };
}

async function reach(signal, path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw signal?.aborted ? error : new Error("the daemon does not answer", { cause: error });
  }
}

/** The path of a VIP, or of what is below it. */
export function vipPath(ref, ...below) {
  return ["v1/vips", encodeURIComponent(ref), ...below.map(encodeURIComponent)].join("/");
}

/** Ask, and return the body. Throws ApiError for what the daemon refuses, another error where nobody answers in time. */
export async function ask(method, path, { body, query, signal, generation, patience = ANSWER_MS } = {}) {
  const asked = new URLSearchParams(query ?? {}).toString();
  const response = await reach(signal, asked ? `${path}?${asked}` : path, {
    method,
    signal: AbortSignal.any([AbortSignal.timeout(patience), ...(signal ? [signal] : [])]),
    cache: "no-store",
    headers: headers({
      ...(body === undefined ? {} : { "Content-Type": method === "PATCH" ? "application/merge-patch+json" : "application/json" }),
      ...(generation === undefined ? {} : { "If-Match": `"${generation}"` }),
    }),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let told = {};
  try {
    told = text ? JSON.parse(text) : {};
  } catch {
    told = { detail: `the answer is no JSON (status ${response.status}): is this xdplb?` };
  }
  if (!response.ok) throw new ApiError(response.status, told);
  return told;
}

/**
 * Follow the events from after the one with this id; `each` gets a message at a time. Returns when the stream ends; an
 * error if it has said nothing for longer than its heartbeats allow, as when the way to the daemon is cut.
 */
export async function follow(since, each, started, signal) {
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  let waiting = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    await readStream(since, either, started, each, () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => silence.abort(), SILENCE_MS);
    });
  } finally {
    clearTimeout(waiting);
  }
}

async function readStream(since, signal, started, each, heard) {
  const response = await fetch("v1/events", {
    headers: headers({ Accept: "text/event-stream", "Last-Event-ID": String(since) }),
    cache: "no-store",
    signal,
  });
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})));
  started();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) each(parseBlock(block));
  }
}

/** One message of a stream (the HTML standard, "Server-sent events"): its id, its kind and its data. */
export function parseBlock(block) {
  const message = { id: null, event: "message", data: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (name === "data") message.data += message.data ? `\n${value}` : value;
    else if (name === "id" || name === "event") message[name] = value;
  }
  return message;
}
