// Numbers and times as a trader reads them. What is unknown is a dash.

const MINUS = "−";
const NONE = "–";
const formats = new Map();

function fixed(value, digits) {
  if (!formats.has(digits)) {
    formats.set(
      digits,
      new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
  }
  const text = formats.get(digits).format(value);
  return /[1-9]/.test(text) ? text.replace("-", MINUS) : text.replace("-", ""); // no zero with a sign
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

export const money = (value) => (known(value) ? fixed(value, 2) : NONE);
export const whole = (value) => (known(value) ? fixed(value, 0) : NONE);
export const bp = (value) => (known(value) ? fixed(value, 2) : NONE);
export const percent = (value, digits = 2) => (known(value) ? `${fixed(100 * value, digits)} %` : NONE);

// A sign where there is something: nothing has none.
export function signed(text) {
  if (!/[1-9]/.test(text)) return text.replace(MINUS, "");
  return text.startsWith(MINUS) ? text : `+${text}`;
}


export function units(value) {
  if (!known(value)) return NONE;
  return String(Number(value.toPrecision(10))).replace("-", MINUS);
}

export function price(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  return fixed(value, size >= 1000 ? 2 : size >= 1 ? 4 : 6);
}

export function lasted(ms) {
  if (!known(ms)) return NONE;
  if (ms === 0) return "0 ms";
  if (ms < 1) return `${fixed(ms, 3)} ms`;
  if (ms < 1000) return `${fixed(ms, ms < 10 ? 1 : 0)} ms`;
  if (ms < 120_000) return `${fixed(ms / 1000, 1)} s`;
  if (ms < 7_200_000) return `${fixed(ms / 60_000, 0)} min`;
  if (ms < 172_800_000) return `${fixed(ms / 3_600_000, 1)} h`;
  return `${fixed(ms / 86_400_000, 1)} d`;
}

// Times of a run are shown in its own zone, wherever the browser is.
export class Clock {
  constructor(zone) {
    this.zone = zone || "UTC";
    const make = (options) => {
      try {
        return new Intl.DateTimeFormat("en-CA", { timeZone: this.zone, hourCycle: "h23", ...options });
      } catch {
        this.zone = "UTC";
        return new Intl.DateTimeFormat("en-CA", { timeZone: "UTC", hourCycle: "h23", ...options });
      }
    };
    this.day = make({ year: "numeric", month: "2-digit", day: "2-digit" });
    this.second = make({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.minute = make({ hour: "2-digit", minute: "2-digit" });
    this.month = make({ year: "numeric", month: "short" });
    this.short = make({ day: "2-digit", month: "short" });
    this.year = make({ year: "numeric" });
  }

  full(ms) {
    return ms ? `${this.day.format(ms)} ${this.second.format(ms)}` : NONE;
  }

  // lightweight-charts asks with 0 year, 1 month, 2 day, 3 minute, 4 second.
  tick(ms, kind) {
    const format = [this.year, this.month, this.short, this.minute, this.second][kind] || this.second;
    return format.format(ms);
  }
}
