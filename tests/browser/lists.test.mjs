// Tests of the chart, the table of stacks, the ages and the ledger in a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertQuiet, cells, openData, pressed, text } from './harness.mjs';
import { HOSTILE, large, small } from './sample.mjs';

/** Drags in the chart from one point of the history to another. */

async function brush(page, from, to) {
  await page.locator('#series-chart').scrollIntoViewIfNeeded();
  const places = await page.evaluate(
    ([begin, end]) => {
      const { plot } = globalThis.memlens.page.series;
      const { left, top } = plot.over.getBoundingClientRect();
      return [begin, end].map((second) => ({ x: left + plot.valToPos(second, 'x'), y: top + 60 }));
    },
    [from, to],
  );
  await page.mouse.move(places[0].x + 2, places[0].y);
  await page.mouse.down();
  await page.mouse.move(places[1].x - 2, places[1].y, { steps: 5 });
  await page.mouse.up();
}

test('a dragged interval is the interval of the growth, in exact numbers', async () => {
  const page = await openData(small());
  assert.deepEqual(await cells(page, 'growth'), ['+500 KiB', '0 B', '+100 KiB', '-24 KiB', '']);
  await page.selectOption('#measure', 'growth');
  assert.equal(
    await text(page, '#caption'),
    'Growth from 0s to 10.0s (10.0s): +600 KiB in 2 stacks; -24 KiB in stacks that shrank is not drawn',
  );
  await brush(page, 4, 8);
  assert.equal(await text(page, '#interval-words'), 'Growth from 4.0s to 8.0s (4.0s)');
  assert.deepEqual(await cells(page, 'growth'), ['+200 KiB', '0 B', '0 B', '-24 KiB', '']);
  assert.equal(
    await text(page, '#caption'),
    'Growth from 4.0s to 8.0s (4.0s): +200 KiB in 1 stack; -24 KiB in stacks that shrank is not drawn',
  );
  assert.deepEqual(await page.locator('#series-legend button .growth').allInnerTexts(), ['+200 KiB', '-16 KiB']);
  await page.keyboard.press('d');
  assert.match(
    await text(page, '#caption'),
    /^Difference of live bytes from 4\.0s to 8\.0s \(4\.0s\): \+176 KiB; \+200 KiB \(red\) and -24 KiB/,
  );
  await page.keyboard.press('d');
  await page.click('#interval-reset');
  assert.match(await text(page, '#interval-words'), /the whole time/);
  assert.deepEqual(await cells(page, 'growth'), ['+500 KiB', '0 B', '+100 KiB', '-24 KiB', '']);
  // The same by keyboard.
  await page.focus('#interval-begin');
  await page.keyboard.press('ArrowRight');
  await page.focus('#interval-end');
  await page.keyboard.press('ArrowLeft');
  assert.equal(await text(page, '#interval-words'), 'Growth from 2.0s to 8.0s (6.0s)');
  assert.equal((await cells(page, 'growth'))[0], '+300 KiB');
  await assertQuiet(page);
});

test('the chart shows processes and stacks, and lines are hidden by the legend', async () => {
  const page = await openData(small());
  assert.deepEqual(await page.locator('#series-legend bdi').allInnerTexts(), [
    'redis-server (100)',
    `${HOSTILE} (200)`,
  ]);
  await page.selectOption('#series-choice', 'largest');
  assert.deepEqual(await page.locator('#series-legend bdi').allInnerTexts(), [
    'parse_request',
    'Cache::insert',
    'init',
    HOSTILE,
  ]);
  await page.selectOption('#series-choice', 'growing');
  assert.deepEqual(await page.locator('#series-legend bdi').allInnerTexts(), [
    'parse_request',
    'init',
    'Cache::insert',
    HOSTILE,
  ]);
  await page.click('#series-legend button >> nth=0');
  assert.equal(await pressed(page, '#series-legend button >> nth=0'), 'false');
  assert.equal(await page.evaluate(() => globalThis.memlens.page.series.plot.series[1].show), false);
  await assertQuiet(page);
});

test('the table sorts by click and by keyboard', async () => {
  const page = await openData(small());
  const sorted = () =>
    page
      .locator('#stack-head th[aria-sort]')
      .evaluateAll((heads) =>
        heads.map((head) => [head.textContent.replace(/\W/g, ''), head.getAttribute('aria-sort')]),
      );
  assert.deepEqual(await sorted(), [['live', 'descending']]);
  await page.click('#stack-head [data-key="growth"]');
  assert.deepEqual(await cells(page, 'growth'), ['+500 KiB', '+100 KiB', '0 B', '-24 KiB', '']);
  await page.keyboard.press('Enter');
  assert.deepEqual(await cells(page, 'growth'), ['-24 KiB', '0 B', '+100 KiB', '+500 KiB', '']);
  assert.deepEqual(await sorted(), [['growth', 'ascending']]);
  await page.click('#stack-head [data-key="function"]');
  assert.deepEqual((await cells(page, 'function')).slice(0, 3), [HOSTILE, 'Cache::insert', 'init']);
  assert.deepEqual(await sorted(), [['function', 'ascending']]);
  assert.deepEqual(await cells(page, 'course'), ['turnover', 'steady', '', '', 'leak']);
  await page.focus('#stack-body tr.row button');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  assert.match(await text(page, '#stack-body tr.selected'), /Cache::insert/);
  assert.match(await text(page, '#stack-body tr.detail'), /malloc\s+libc\.so\.6/);
  await assertQuiet(page);
});

const STACK = `redis-server (100): live 600 KiB, blocks 600, growth +500 KiB, oldest 9.8s
held by global sessions -> 8 KiB (rehash)
  #0 __rust_alloc (app alloc.rs:92)
  #1 alloc::raw_vec::RawVec<T>::allocate (app raw_vec.rs:170)
  #2 alloc::vec::Vec<T>::with_capacity (app vec/mod.rs:501)
  #3 parse_request (app http.rs:77)
  #4 serve (app server.rs:42)
  #5 main (app main.rs:10)
`;

test('a stack is copied as text', async () => {
  const page = await openData(small(), { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.click('tr.row[data-sample="0"]');
  await page.click('tr.detail .fold button');
  assert.match(await text(page, 'tr.detail'), /__rust_alloc\s+app alloc\.rs:92\s+alloc::raw_vec/);
  await page.click('tr.detail .detail-head button');
  await page.waitForFunction(() => document.querySelector('tr.detail .detail-head button').textContent === 'Copied');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), STACK);
  await page.click('.command button');
  await page.waitForFunction(() => document.querySelector('.command button').textContent === 'Copied');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'memlens leaks -p 100 --older 10s');
  await assertQuiet(page);
});

test('where the clipboard is not allowed, the text is selected', async () => {
  const page = await openData(small(), {
    prepare: () =>
      Object.defineProperty(navigator, 'clipboard', {
        value: { writeText: () => Promise.reject(new Error('not allowed')) },
      }),
  });
  await page.click('tr.row[data-sample="0"]');
  await page.click('tr.detail .detail-head button');
  await page.waitForSelector('#copy-dialog[open]');
  assert.equal((await page.evaluate(() => getSelection().toString())).trim(), STACK.trim());
  await assertQuiet(page);
});

test('histograms of ages are in whole buckets', async () => {
  const page = await openData(small());
  const titles = await page.locator('#ages-charts rect title').allTextContents();
  // Both from the first bucket that is filled, 1 to 2 ms, to the last one, 8 to 16 s.
  assert.equal(titles.length, 2 * 14);
  assert.deepEqual(
    titles.filter((title) => !/: 0( B)?$/.test(title)),
    [
      '64ms to 128ms: 24 KiB',
      '512ms to 1s: 200 KiB',
      '2s to 4s: 300 KiB',
      '4s to 8s: 100 KiB',
      '8s to 16s: 400 KiB',
      '1ms to 2ms: 456',
      '4ms to 8ms: 290',
      '128ms to 256ms: 10',
    ],
  );
  assert.match(await text(page, '#ages-charts'), /Live bytes by age 1 MiB, half older than 2s/);
  assert.match(await text(page, '#ages-charts'), /Freed blocks by age when freed 756/);
  await page.click('tr.row[data-sample="0"]');
  assert.match(await text(page, '#ages-charts'), /Live bytes by age 600 KiB/);
  assert.match(await text(page, '#ages-charts'), /Freed blocks by age when freed 300/);
  await assertQuiet(page);
});

test('the ledger is drawn to scale, and has its values in words', async () => {
  const page = await openData(small());
  const areas = await page.locator('#ledger-map .level1').evaluateAll((boxes) =>
    boxes.map((box) => {
      const { width, height } = box.getBoundingClientRect();
      return [box.title, (width + 1) * (height + 1)];
    }),
  );
  const sum = areas.reduce((total, [, area]) => total + area, 0);
  assert.equal(areas.length, 3);
  assert.equal(areas[0][0], 'brk heap: 2 MiB in memory, 2.50 MiB of address space, 128 KiB in swap');
  [0.5, 0.375, 0.125].forEach((share, index) =>
    assert.ok(Math.abs(areas[index][1] / sum - share) < 0.01, `${areas[index]}`),
  );
  assert.match(await text(page, '#ledger-rows tr:nth-child(2)'), /live blocks\s+1\.01 MiB\s+25\.2%/);
  await assertQuiet(page);
});

test('show all rows', async () => {
  const page = await openData(large());
  await page.click('#more-stacks');
  assert.equal(await page.locator('#stack-body tr.row').count(), 2_005);
  assert.equal(await page.isHidden('#more-stacks'), true);
  await assertQuiet(page);
});
