// Bundles the panel: node build.mjs MODULES OUT. The same sources give the same bytes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [modules, out] = process.argv.slice(2).map((path) => resolve(path));
const { build } = createRequire(join(modules, "package.json"))("esbuild");

// Whoever has no node can still see whether what is shipped was made of these sources.
const digest = createHash("sha256");
for (const name of readdirSync(here).sort()) {
  if (/\.(js|mjs|css|json)$/.test(name)) {
    digest.update(`${name}\n`).update(readFileSync(join(here, name)));
  }
}

await build({
  entryPoints: [join(here, "panel.js"), join(here, "panel.css")],
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "inline",
  nodePaths: [join(modules, "node_modules")],
  banner: { js: `// Made by \`make esm\` of regimeflow/widgets/src, sha256 ${digest.digest("hex")}` },
});

mkdirSync(out, { recursive: true });
const parts = ["lightweight-charts", "fancy-canvas"].map((name) => {
  const folder = join(modules, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  const text = file ? readFileSync(join(folder, file), "utf8").trim() : "Its package brings no text; that of the licence is https://opensource.org/license/mit.";
  return `${name} ${version} (${license})\n\n${text}\n`;
});
const head =
  "panel.js holds the parts below.\n\n" +
  "TradingView Lightweight Charts™\nCopyright (c) 2026 TradingView, Inc. https://www.tradingview.com/\n";
writeFileSync(join(out, "LICENSES.txt"), [head, ...parts].join(`\n${"-".repeat(72)}\n\n`));
