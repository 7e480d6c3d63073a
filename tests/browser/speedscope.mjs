// Opens a file in speedscope, as its npm package ships it, and prints the functions that it lists: node speedscope.mjs FILE
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json' };
const profile = resolve(process.argv[2]);
const site = join(dirname(fileURLToPath(import.meta.url)), 'node_modules/speedscope/dist/release');

const server = createServer((request, response) => {
  const name = basename(new URL(request.url, 'http://localhost').pathname);
  const file = name === basename(profile) ? profile : join(site, name);
  if (!existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
  createReadStream(file).pipe(response);
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const address = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
});
try {
  const page = await browser.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  const loaded = encodeURIComponent(`${address}/${basename(profile)}`);
  await page.goto(`${address}/index.html#profileURL=${loaded}`);
  await page.waitForFunction(() => document.title.includes(' - speedscope'), null, { timeout: 60_000 });
  // The view that lists functions by name, as text of the page.
  await page.getByText('Sandwich').click();
  await page.waitForFunction(() => document.body.innerText.includes('%)'), null, { timeout: 60_000 });
  const words = await page.evaluate(() => `${document.title}\n${document.body.innerText}`);
  if (errors.length > 0) throw new Error(errors.join('; '));
  console.log(words);
} finally {
  await browser.close();
  server.close();
}
