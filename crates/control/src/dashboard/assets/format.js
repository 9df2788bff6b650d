// Numbers and times as people read them.

const DIGITS = [0, 1, 2].map((digits) => new Intl.NumberFormat(undefined, { maximumFractionDigits: digits, minimumFractionDigits: digits === 2 ? 0 : 0 }));

/** Three digits at most, with k, M, G. */
export function number(value) {
  if (value === undefined || value === null) return "–";
  let [scaled, unit] = [value, ""];
  for (const next of ["k", "M", "G", "T"]) {
    if (Math.abs(scaled) < 1000) break;
    [scaled, unit] = [scaled / 1000, next];
  }
  const size = Math.abs(scaled);
  return DIGITS[size >= 100 || scaled === 0 ? 0 : size >= 10 ? 1 : 2].format(scaled) + unit;
}

export const perSecond = (value) => `${number(value)}/s`;

/** A share: 99.95 %. */
export function percent(share) {
  if (share === undefined || share === null) return "–";
  const value = share * 100;
  // What is not all must not be rounded to it.
  const shown = value > 99.99 && value < 100 ? 99.99 : value;
  return `${DIGITS[shown >= 99 && shown < 100 ? 2 : 1].format(shown)} %`;
}

/** Milliseconds. */
export function lasted(value) {
  if (value === undefined || value === null) return "–";
  return value >= 1000 ? `${number(value / 1000)} s` : `${number(value)} ms`;
}

export function bytes(value) {
  if (value === undefined || value === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) [value, place] = [value / 1024, place + 1];
  return `${number(value)} ${units[place]}`;
}

const pad = (value) => String(value).padStart(2, "0");

/** The time of a moment, to the minute. */
export const clock = (at) => `${pad(new Date(at).getHours())}:${pad(new Date(at).getMinutes())}`;

/** A moment, with its date if that is not today. */
export function moment(at) {
  if (!at) return "–";
  const date = new Date(at);
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}`;
}

/** How long, in its two greatest units. */
export function span(milliseconds) {
  let seconds = Math.max(0, Math.round(milliseconds / 1000));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(seconds / length);
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    seconds -= count * length;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

export const STATES = { ok: "healthy", degraded: "degraded", down: "down", none: "no tasks" };

export const MODES = {
  mutual_tls: "mutual TLS: both sides prove who they are",
  tls: "TLS: only the called side proves who it is",
  plaintext: "plaintext: not encrypted",
};
