// What today's allowance is and what is left of it.

import * as api from "./api.js";
import { megabytes, number, upcoming } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";

// From this share on, the meter warns.
const warnShare = 0.8;
const rows = [
  { member: "characters", id: "usage-characters", write: number },
  { member: "generations", id: "usage-generations", write: number },
  { member: "storage_bytes", id: "usage-storage", write: megabytes },
];

let latest = null;

/** Asks for the usage, shows it and returns it. */
export async function refreshUsage() {
  latest = await api.usage();
  render();
  return latest;
}

export function clearUsage() {
  latest = null;
  render();
}

function render() {
  for (const { member, id, write } of rows) {
    const amount = latest?.[member];
    const value = document.getElementById(id);
    const meter = document.getElementById(`${id}-meter`);
    const isLimited = Number.isFinite(amount?.limit) && amount.limit > 0;
    meter.hidden = !isLimited;
    if (!amount) {
      value.textContent = "–";
    } else if (isLimited) {
      value.textContent = t("of_limit", { used: write(amount.used), limit: write(amount.limit) });
      meter.max = amount.limit;
      meter.high = amount.limit * warnShare;
      meter.optimum = 0;
      meter.value = amount.used;
    } else {
      value.textContent = write(amount.used);
    }
  }
  const resets = document.getElementById("usage-resets");
  resets.textContent = latest ? t("usage_resets", { when: upcoming(new Date(latest.resets_at)) }) : "";
}

onLanguageChange(render);
