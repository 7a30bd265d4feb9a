// Copies what the pages load from node_modules to dist/vendor, and joins the scripts to one.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const root = new URL("../", import.meta.url);
const from = (name) => new URL(name, root);
const read = (name) => readFileSync(from(name), "utf8");

rmSync(from("dist"), { recursive: true, force: true });
mkdirSync(from("dist/vendor/purecss/"), { recursive: true });
cpSync(from("node_modules/purecss/build/pure-min.css"), from("dist/vendor/purecss/pure-min.css"));
const scripts = ["node_modules/d3-array/dist/d3-array.min.js", "node_modules/htmx.org/dist/htmx.min.js", "src/wepp-vendor.js"];
writeFileSync(from("dist/vendor/wepp-vendor.js"), scripts.map(read).join(";\n"));
