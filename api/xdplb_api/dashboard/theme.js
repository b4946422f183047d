// SPDX-License-Identifier: Apache-2.0
// Before anything is drawn, so that a page in the dark does not flash white.
const chosen = localStorage.getItem("xdplb-theme");
if (chosen) document.documentElement.dataset.theme = chosen;
