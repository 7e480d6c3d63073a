// Assembles a report from the assets and data: the same page that the renderer makes, for tests without it.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
// The folder of the assets: in a repository of their own, or as part of the tracer.
export const ASSETS =
  process.env.MEMLENS_ASSETS ??
  ['../../assets', '../../tracer/assets'].map((path) => join(here, path)).find(existsSync);
export const LARGEST_PLAIN_JSON = 64 << 10;

const asset = (name) => readFileSync(join(ASSETS, name), 'utf8');

/** Names of the script files in the order in which they are concatenated. */
export function scriptOrder() {
  return asset('report/order.txt').trim().split('\n');
}

export function script() {
  return [asset('uplot/uPlot.iife.min.js'), ...scriptOrder().map((name) => asset(`report/${name}`))].join('\n');
}

export function style() {
  return `${asset('uplot/uPlot.min.css')}\n${asset('report/report.css')}`;
}

function sha256(text) {
  return `'sha256-${createHash('sha256').update(text, 'utf8').digest('base64')}'`;
}

/** The data element: JSON without "<", or base64 of gzip where it is larger than `plain` bytes. */
export function dataElement(data, plain) {
  const json = JSON.stringify(data);
  if (Buffer.byteLength(json) > plain) {
    const packed = gzipSync(json, { level: 9 }).toString('base64');
    return `<script type="application/octet-stream" id="data">${packed}</script>`;
  }
  return `<script type="application/json" id="data">${json.replaceAll('<', '\\u003c')}</script>`;
}

function escapeText(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

export function page(data, plain = LARGEST_PLAIN_JSON) {
  const code = script();
  const css = style();
  const policy = `default-src 'none'; script-src ${sha256(code)}; style-src ${sha256(css)}; img-src data:`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escapeText(data.title)} - memlens</title>
<style>${css}</style>
</head>
<body>
${asset('report/page.html')}
${dataElement(data, plain)}
<script>${code}</script>
</body>
</html>
`;
}

// node build.mjs DATA.json REPORT.html
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2);
  writeFileSync(to, page(JSON.parse(readFileSync(from, 'utf8'))));
}
