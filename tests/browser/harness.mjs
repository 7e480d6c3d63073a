// What the browser tests share: one browser for a file of tests, pages from disk, and what was seen of them.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { page as build } from './build.mjs';

export let browser;
let folder;
let made = 0;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'memlens-report-'));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox'],
    // People have scroll bars, and they take room.
    ignoreDefaultArgs: ['--hide-scrollbars'],
  });
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

export function write(html) {
  const file = join(folder, `report-${made++}.html`);
  writeFileSync(file, html);
  return file;
}

/** Opens a page from disk, and records requests, messages of the console, errors and violations of the policy. */
export async function open(file, { prepare, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  const page = await context.newPage();
  page.seen = { requests: [], messages: [], errors: [], dialogs: [] };
  page.on('request', (request) => page.seen.requests.push(request.url()));
  page.on('console', (message) => {
    // The advice about reading pixels is for these tests: the page reads none.
    if (!message.text().includes('willReadFrequently')) page.seen.messages.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => page.seen.errors.push(error.stack));
  page.on('dialog', (dialog) => {
    page.seen.dialogs.push(dialog.message());
    dialog.dismiss();
  });
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) =>
      globalThis.violations.push(event.violatedDirective),
    );
  });
  if (prepare) await page.addInitScript(prepare);
  const url = pathToFileURL(file).href;
  await page.goto(url);
  await page.waitForFunction(
    () => document.documentElement.dataset.drawn || !document.querySelector('#failure')?.hidden,
  );
  page.url_ = url;
  return page;
}

export const openData = (data, options) => open(write(build(data)), options);

export async function assertQuiet(page) {
  assert.deepEqual(page.seen.requests, [page.url_], 'a request other than the file itself');
  assert.deepEqual(page.seen.messages, []);
  assert.deepEqual(page.seen.errors, []);
  assert.deepEqual(page.seen.dialogs, []);
  assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
  await page.context().close();
}

export const text = (page, selector) => page.locator(selector).innerText();
export const pressed = (page, id) => page.getAttribute(id, 'aria-pressed');

/** Pixel position of the box at the end of a path of names. */
export async function boxAt(page, path) {
  const position = await page.evaluate((names) => {
    const { flame, model } = globalThis.memlens.page;
    const box = globalThis.memlens.tree.follow(model, flame.tree, names);
    flame.reveal(box);
    flame.canvas.scrollIntoView({ block: 'nearest' });
    const { x, y } = flame.center(box);
    const { left, top } = flame.canvas.getBoundingClientRect();
    return { x: left + x, y: top + y };
  }, path);
  return position;
}

export async function clickBox(page, path) {
  const { x, y } = await boxAt(page, path);
  await page.mouse.click(x, y);
}

export const zoomedName = (page) =>
  page.evaluate(() => {
    const { flame, model } = globalThis.memlens.page;
    return globalThis.memlens.tree.boxText(model, flame.tree, flame.zoomed);
  });

export const selectedName = (page) =>
  page.evaluate(() => {
    const { flame, model } = globalThis.memlens.page;
    return flame.selected < 0 ? null : globalThis.memlens.tree.boxText(model, flame.tree, flame.selected);
  });

export const cells = (page, key) => page.locator(`#stack-body tr.row .col-${key}`).allInnerTexts();
