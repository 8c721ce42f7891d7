// Numbers, sizes and times as the reader writes them.

import { locale, t } from "./i18n.js";

const bytesPerMegabyte = 1024 * 1024;

export function number(value) {
  return new Intl.NumberFormat(locale()).format(value);
}

/** 1.25 → "1.25×" */
export function factor(value) {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return `${new Intl.NumberFormat(locale(), digits).format(value)}×`;
}

/** Bytes as megabytes without the unit, with a decimal while they are few. */
export function megabytes(bytes) {
  const value = bytes / bytesPerMegabyte;
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
}

/** The length of a recording: "1.7 s" below a minute, then "1:05". */
export function duration(seconds) {
  if (seconds < 59.95) {
    const digits = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
    return t("seconds_short", { seconds: new Intl.NumberFormat(locale(), digits).format(seconds) });
  }
  return clock(Math.round(seconds));
}

/** What is left of a wait: "12 s", "4:05" or "11:20:05". */
export function countdown(seconds) {
  return seconds < 60 ? t("seconds_short", { seconds: number(seconds) }) : clock(seconds);
}

function clock(seconds) {
  const pad = (part) => String(part).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const rest = `${pad(seconds % 60)}`;
  return hours > 0 ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** A moment in the past: the time today, else day and time, with the year when it is another. */
export function moment(date, now = new Date()) {
  const options = { hour: "numeric", minute: "2-digit" };
  if (date.toDateString() !== now.toDateString()) {
    Object.assign(options, { month: "short", day: "numeric" });
  }
  if (date.getFullYear() !== now.getFullYear()) options.year = "numeric";
  return new Intl.DateTimeFormat(locale(), options).format(date);
}

/** The full date and time, for tooltips. */
export function fullMoment(date) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "full", timeStyle: "short" }).format(date);
}

/** A moment within the next days: "tomorrow 08:00". */
export function upcoming(date, now = new Date()) {
  const midnight = (of) => new Date(of.getFullYear(), of.getMonth(), of.getDate());
  // Rounded, because a day with a clock change has 23 or 25 hours.
  const days = Math.round((midnight(date) - midnight(now)) / 86_400_000);
  const day = new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(days, "day");
  const time = new Intl.DateTimeFormat(locale(), { timeStyle: "short" }).format(date);
  return `${day} ${time}`;
}

/** The name of a language by its BCP 47 tag; a tag nobody knows stays as it is. */
export function languageName(tag) {
  try {
    return new Intl.DisplayNames(locale(), { type: "language" }).of(tag);
  } catch {
    return tag;
  }
}
