// What the page can say of a new password. Length is most of what makes one strong; what is
// common, the server refuses.

import { t } from "./i18n.js";

const minLength = 8;
const maxLength = 256;
// From here on a password is long enough by itself (NIST SP 800-63B-4).
const goodLength = 15;

const lengthOf = (password) => [...password].length;

export const fits = (password) => lengthOf(password) >= minLength && lengthOf(password) <= maxLength;

/** A sentence for whoever is typing one. */
export function strengthOf(password) {
  const length = lengthOf(password);
  if (length === 0) return t("password_hint");
  if (length < minLength) return t("password_more", { missing: minLength - length });
  return t(length < goodLength ? "password_fair" : "password_good");
}

/** The key of what to say when the server refused a new password, or null when it was not that. */
export function refusalOf(problem) {
  if (problem.code !== "request_invalid") return null;
  if (problem.detail.startsWith("password is too easy")) return "password_easy";
  // The operator may ask for more characters than the page knows of.
  return problem.detail.startsWith("password must have") ? "password_refused_length" : null;
}
