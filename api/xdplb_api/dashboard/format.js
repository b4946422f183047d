// SPDX-License-Identifier: Apache-2.0
// How values are written. Nothing here knows of the page: tests/unit/api/dashboard runs it in node.

const PREFIXES = ["", "k", "M", "G", "T"];

/** A count a second, or bits a second, in three digits: 0, 12.3 k, 4.56 M. A dash for what is not known. */
export function rate(value, unit = "") {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  let step = 0;
  let rest = Math.max(value, 0);
  while (rest >= 999.5 && step < PREFIXES.length - 1) {
    rest /= 1000;
    step += 1;
  }
  const digits = rest >= 99.95 || (step === 0 && rest >= 9.995) || rest === 0 ? 0 : rest >= 9.995 ? 1 : step === 0 ? 1 : 2;
  return `${rest.toFixed(digits)} ${PREFIXES[step]}${unit}`.trimEnd();
}

/** A count with its thousands apart. */
export function count(value) {
  if (value === null || value === undefined) return "–";
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A share of 1, in percent. */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = share * 100;
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)} %`;
}

/** Seconds of a handshake: 0.42 ms, 12 ms, 1.3 s. */
export function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const ms = seconds * 1000;
  if (ms >= 1000) return `${seconds.toFixed(1)} s`;
  return `${ms >= 10 ? ms.toFixed(0) : ms.toFixed(2)} ms`;
}

/** How long ago, or how long until, in the two largest units: 42 s, 3 min, 2 h 5 min, 4 d. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  const hours = Math.floor(whole / 3600);
  if (hours < 24) {
    const minutes = Math.floor((whole % 3600) / 60);
    return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  }
  return `${Math.floor(hours / 24)} d`;
}

/** How long ago a moment of the API was. */
export function ago(moment, now = Date.now()) {
  if (!moment) return "–";
  return span((now - Date.parse(moment)) / 1000);
}

/** A moment of the API as the clock on the wall says it here, with its day if that is another than today. */
export function clock(moment, now = Date.now()) {
  const at = new Date(moment);
  if (Number.isNaN(at.valueOf())) return "–";
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return new Date(now).toDateString() === at.toDateString() ? time : `${day} ${time}`;
}

function two(number) {
  return String(number).padStart(2, "0");
}

/** How commands and paths name a VIP: its name, or address, ports and protocol. */
export function vipRef(vip) {
  if (vip.name) return vip.name;
  return vipKey(vip);
}

/** A VIP's address, ports and protocol: 203.0.113.10:80/tcp, [2001:db8::10]:443-499/tcp+udp. */
export function vipKey(vip) {
  const address = vip.address.includes(":") ? `[${vip.address}]` : vip.address;
  const last = vip.last_port && vip.last_port !== vip.port ? `-${vip.last_port}` : "";
  return `${address}:${vip.port}${last}/${vip.protocol}`;
}

/** A word of the API as people write it: fail_open becomes "fail open". */
export function words(text) {
  return String(text).replaceAll("_", " ").toLowerCase();
}
