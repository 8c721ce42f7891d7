// What was fetched becomes a file of the reader's.

import { make } from "./dom.js";

/** Has the browser keep `blob` under `name`. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  // The browser has begun by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
