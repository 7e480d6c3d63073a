// Tests of the whole report in a browser. MEMLENS_REPORT names a page of the renderer for the generic checks.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { page as build } from './build.mjs';
import { assertQuiet, boxAt, browser, open, openData, selectedName, text, write } from './harness.mjs';
import { HOSTILE, empty, large, largeDifference, small } from './sample.mjs';

describe('any report', () => {
  const file = () => (process.env.MEMLENS_REPORT ? resolve(process.env.MEMLENS_REPORT) : write(build(small())));

  test('opens without a request, a message or a violation', async () => {
    const page = await open(file());
    assert.match(await page.title(), / - memlens$/);
    assert.equal(await page.title(), `${await text(page, '#title')} - memlens`);
    assert.ok(await page.evaluate(() => globalThis.memlens.page.flame.visible.length > 1), 'boxes are drawn');
    assert.ok((await page.locator('#stack-body tr.row').count()) > 0, 'rows are shown');
    for (const key of ['i', 'a', 'i', 'a', 'd', 'd', '?', 'Escape', '/', 'x', 'Escape', 'Escape', 'Escape'])
      await page.keyboard.press(key);
    await page.click('#theme');
    await page.setViewportSize({ width: 600, height: 800 });
    await page.emulateMedia({ media: 'print' });
    await assertQuiet(page);
  });

  test('has a policy that only its own script and style pass', async () => {
    const html = readFileSync(file(), 'utf8');
    const [, policy] = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(html);
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    // One byte more in the script, and it does not run.
    const start = html.lastIndexOf('<script>') + '<script>'.length;
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(pathToFileURL(write(`${html.slice(0, start)} ${html.slice(start)}`)).href);
    assert.equal(await page.evaluate(() => typeof globalThis.memlens), 'undefined');
    await context.close();
  });

  test('leaves two names in the global scope', async () => {
    const page = await open(file());
    const plain = await browser.newPage();
    await plain.goto(pathToFileURL(write('<!DOCTYPE html><title>plain</title>')).href);
    const names = (target) => target.evaluate(() => Object.getOwnPropertyNames(globalThis));
    const known = new Set(await names(plain));
    const added = (await names(page)).filter(
      (name) => !known.has(name) && !['violations', '0'].includes(name) && !/^__p/.test(name),
    );
    // Elements with an id are properties of the window, but not its own.
    assert.deepEqual(added.sort(), ['memlens', 'uPlot']);
    await plain.close();
    await assertQuiet(page);
  });
});

test('the header says what, when, how long, and what was lost', async () => {
  const page = await openData(small());
  assert.equal(await text(page, '#title'), `redis-server (100) ${HOSTILE}`);
  assert.deepEqual(await page.locator('#meta span').allInnerTexts(), [
    '2026-11-29 17:22:33 UTC',
    'traced for 10.2s',
    'host web1',
    'kernel 6.18.5',
    'memlens 0.1.0',
  ]);
  assert.match(
    await text(page, '#losses'),
    /not complete 1 loss\s+3 allocations were not counted: the table of blocks was full\./,
  );
  await page.click('#loss-details summary');
  assert.doesNotMatch(await text(page, '#losses'), /3 allocations/);
  await assertQuiet(page);
  const whole = await openData({ ...small(), complete: true, losses: [] });
  assert.match(await text(whole, '#losses'), /^complete/);
  await assertQuiet(whole);
});

test('a finding has its kind in words, and selects its stack everywhere', async () => {
  const page = await openData(small());
  assert.deepEqual(await page.locator('#finding-list .chip').allInnerTexts(), ['leak', 'turnover', 'next']);
  assert.match(
    await text(page, '#finding-list li:first-child'),
    /parse_request grows by 50 KiB\/s\s+held by global sessions -> 8 KiB \(rehash\)/,
  );
  await page.click('#finding-list li:first-child button.link');
  assert.equal(await selectedName(page), '(3 frames of alloc::vec)');
  assert.match(await text(page, '#stack-body tr.selected'), /600 KiB/);
  assert.match(
    await text(page, '#stack-body tr.detail'),
    /Held by global sessions -> 8 KiB \(rehash\)[^]*\(3 frames of alloc::vec\)\s+parse_request\s+app http.rs:77\s+serve/,
  );
  assert.match(await text(page, '#ages-words'), /selected stack: parse_request/);
  assert.equal(await page.inputValue('#series-choice'), 'largest');
  assert.equal(await page.evaluate(() => globalThis.memlens.page.series.plot.series[1].width), 3);
  // A finding about another source shows that source.
  await page.click('#finding-list li:nth-child(3) button.link');
  assert.equal(await page.inputValue('#source'), '1');
  assert.equal(await selectedName(page), 'd_alloc');
  await assertQuiet(page);
});

test('hostile names are shown and do nothing', async () => {
  const page = await openData(small());
  const { x, y } = await boxAt(page, ['run', 'safe\u202egnp.exe\u202c_\u0007bell']);
  await page.mouse.move(x, y);
  assert.match(await text(page, '#tooltip'), /^safe\\u202egnp\.exe\\u202c_\\u0007bell/);
  await page.selectOption('#series-choice', 'growing');
  for (const sample of [3, 4]) await page.click(`tr.row[data-sample="${sample}"]`);
  for (const key of ['i', 'a', 'd']) await page.keyboard.press(key);
  assert.equal(await page.locator('img').count(), 0);
  assert.equal(await page.locator('script').count(), 2);
  const content = await page.evaluate(() => document.body.innerText);
  assert.doesNotMatch(content, /[\u202a-\u202e\u2066-\u2069\u0007]/);
  assert.ok(content.includes(HOSTILE));
  assert.doesNotMatch(content, /x{1000}/, 'a long name is cut');
  assert.ok(
    await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth),
    'nothing is wider than the window',
  );
  await assertQuiet(page);
});

test('the theme follows the system until the button is pressed', async () => {
  const page = await openData(small(), { colorScheme: 'dark' });
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const corner = () =>
    page.evaluate(() => {
      const { flame } = globalThis.memlens.page;
      flame.draw();
      return [...flame.context.getImageData(2, 2, 1, 1).data.slice(0, 3)];
    });
  assert.equal(await background(), 'rgb(20, 23, 27)');
  assert.deepEqual(await corner(), [0x2b, 0x31, 0x38]);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.waitForFunction(() => document.documentElement.dataset.theme === 'light');
  assert.equal(await background(), 'rgb(255, 255, 255)');
  await page.click('#theme');
  assert.equal(await background(), 'rgb(20, 23, 27)');
  assert.equal(await text(page, '#theme'), 'Light');
  await page.click('#theme');
  assert.deepEqual(await corner(), [0xe4, 0xe7, 0xeb]);
  await assertQuiet(page);
});

test('on paper: white, unfolded, with the first fifty stacks', async () => {
  const page = await openData(large(), { colorScheme: 'dark' });
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  await page.waitForFunction(() => globalThis.memlens.page.printing);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(255, 255, 255)');
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).color), 'rgb(26, 29, 33)', 'dark text');
  const pixel = await page.evaluate(() => [
    ...globalThis.memlens.page.flame.context.getImageData(2, 2, 1, 1).data.slice(0, 3),
  ]);
  assert.deepEqual(pixel, [0xe4, 0xe7, 0xeb], 'boxes of the light theme');
  assert.equal(await page.locator('.printed-stack').count(), 50);
  assert.ok((await page.locator('.printed-stack:first-child li').count()) > 20);
  for (const id of ['#finding-list', '#series-chart canvas', '#flame', '#printed'])
    assert.equal(await page.isVisible(id), true, id);
  for (const id of ['#measure', '#theme', '#stack-table', '.command button'])
    assert.equal(await page.locator(id).first().isVisible(), false, id);
  assert.equal(await page.getAttribute('#notes', 'open'), '');
  await page.emulateMedia({ media: 'screen', colorScheme: 'dark' });
  await page.waitForFunction(() => !globalThis.memlens.page.printing);
  assert.equal(await page.locator('.printed-stack').count(), 0);
  assert.equal(await page.getAttribute('#notes', 'open'), null);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(20, 23, 27)');
  await assertQuiet(page);
});

test('a narrow window has no sideways scrolling', async () => {
  for (const data of [small(), large(), largeDifference()]) {
    const page = await openData(data, { viewport: { width: 600, height: 800 } });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
    const widths = () =>
      page.evaluate(() => {
        const { pixels, scroller } = globalThis.memlens.page.flame;
        return [pixels, scroller.clientWidth];
      });
    for (const size of [
      { width: 600, height: 2_000 },
      { width: 600, height: 500 },
    ]) {
      await page.setViewportSize(size);
      await page.waitForTimeout(50);
      const [pixels, room] = await widths();
      assert.equal(pixels, room);
      assert.ok(pixels > 540);
    }
    await assertQuiet(page);
  }
});

test('a report without stacks shows what it has', async () => {
  const page = await openData(empty());
  assert.equal(await text(page, '#finding-list'), 'too early\nnothing was allocated yet');
  for (const id of ['#stacks', '#list', '#ages', '#series', '#ledger']) assert.equal(await page.isHidden(id), true, id);
  for (const key of ['i', 'd', 'a', '/', 'Escape']) await page.keyboard.press(key);
  await page.click('#theme');
  await page.emulateMedia({ media: 'print' });
  await page.waitForFunction(() => globalThis.memlens.page.printing);
  await assertQuiet(page);
});

test('a page with damaged data says so', async () => {
  const html = build(small()).replace('"version":1', '"version":');
  const page = await open(write(html));
  assert.match(await text(page, '#failure'), /^The data of this report cannot be shown: /);
  assert.equal(await page.isHidden('#report'), true);
  assert.equal(page.seen.errors.length, 1);
  await page.context().close();
});
