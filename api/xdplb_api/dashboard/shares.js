// SPDX-License-Identifier: Apache-2.0
// The share of a VIP's new connections that a backend's weight asks for.

const weightOf = (backend) => (backend.admin_state === "ready" ? backend.weight : 0);

// From 0 to 1, among the primary backends. null for a backup, which asks for none while the primaries do, and if no
// primary has a weight.
export function wantedShare(backends, backend) {
  if (backend.role !== "primary") return null;
  const all = backends.filter((each) => each.role === "primary").reduce((sum, each) => sum + weightOf(each), 0);
  return all ? weightOf(backend) / all : null;
}
