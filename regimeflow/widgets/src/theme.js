// Colours: the page's own where it has some, and a set that every kind of colour vision tells apart.

// Blue, green, orange and purple of Okabe and Ito, lighter on a dark page.
const INK = {
  light: { live: "#0072b2", shadow: "#00805f", twin: "#c85a00", baseline: "#6b7480", buy: "#0072b2", sell: "#c85a00" },
  dark: { live: "#56b4e9", shadow: "#2fc79a", twin: "#f0a04b", baseline: "#9aa4b0", buy: "#56b4e9", sell: "#f0a04b" },
};

export function isDark(element) {
  const rgb = (getComputedStyle(element).color.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
  return 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] > 128; // light text: a dark page
}

export function palette(element) {
  const style = getComputedStyle(element);
  const of = (name) => style.getPropertyValue(name).trim();
  const dark = isDark(element);
  return {
    dark,
    text: style.color,
    font: style.fontFamily,
    faint: of("--rf-dim") || (dark ? "#a0a8b2" : "#5b6570"),
    rule: of("--rf-rule") || (dark ? "#3a3f46" : "#e1e5ea"),
    paper: of("--rf-paper") || (dark ? "#111" : "#fff"),
    candle: dark ? "#8d97a3" : "#77828e",
    band: dark ? "rgba(154,164,176,.16)" : "rgba(107,116,128,.13)",
    ...INK[dark ? "dark" : "light"],
  };
}

// Calls back when the page changes between light and dark; returns what ends that.
export function onTheme(callback) {
  const observer = new MutationObserver(callback);
  const options = { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-jp-theme-name", "data-theme"] };
  observer.observe(document.body, options);
  observer.observe(document.documentElement, options);
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", callback);
  };
}
