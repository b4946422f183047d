// SPDX-License-Identifier: Apache-2.0
// The one place where Preact and htm are joined. Text that is put into a template never becomes markup.
import { Component, Fragment, h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.module.js";

export const html = htm.bind(h);
export { Component, Fragment, render };
