// Tests of size and time: a report of 2,005 stacks, and one of 100,000 nodes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { page as build, script } from './build.mjs';
import { assertQuiet, open, openData, text, write } from './harness.mjs';
import { huge, large } from './sample.mjs';

const LARGEST_PAGE = 400_000;
const FIRST_DRAW_MS = 300;
const REDRAW_MS = 16;

test('2,005 stacks: size of the page and time of the first draw', async (context) => {
  const data = large();
  assert.equal(data.samples.node.length, 2_005);
  const html = build(data, 0);
  assert.ok(html.includes('type="application/octet-stream"'));
  context.diagnostic(`page ${Buffer.byteLength(html)} bytes, of these ${Buffer.byteLength(script())} of script`);
  assert.ok(Buffer.byteLength(html) <= LARGEST_PAGE, `${Buffer.byteLength(html)} bytes`);
  const file = write(html);
  const times = [];
  // The fastest says what the page takes, the others how busy the machine is: no more runs once one is in time.
  while (times.length < 12 && !times.some((time) => time <= FIRST_DRAW_MS)) {
    const page = await open(file);
    const { started_ms: started, first_draw_ms: drawn } = await page.evaluate(() => globalThis.memlens.stats);
    assert.equal(drawn.toFixed(1), await page.getAttribute('html', 'data-drawn'));
    context.diagnostic(
      `first draw ${drawn.toFixed(0)} ms after the start of loading, ${(drawn - started).toFixed(0)} ms of script`,
    );
    times.push(drawn);
    assert.equal(await text(page, '#list-caption'), '2,005 stacks');
    assert.equal(await page.locator('#stack-body tr.row').count(), 100);
    await assertQuiet(page);
  }
  assert.ok(Math.min(...times) <= FIRST_DRAW_MS, `${times} ms`);
});

test('100,000 nodes: time of a redraw', async (context) => {
  const data = huge();
  assert.ok(data.nodes.parent.length >= 100_000);
  const page = await openData(data);
  for (const view of ['callers first', 'inverted']) {
    const result = await page.evaluate(() => {
      const { flame } = globalThis.memlens.page;
      const times = Array.from({ length: 31 }, () => {
        const start = performance.now();
        flame.draw();
        // Reading a pixel waits until the canvas is painted.
        flame.context.getImageData(0, 0, 1, 1);
        return performance.now() - start;
      }).sort((a, b) => a - b);
      return { boxes: flame.tree.size, drawn: flame.visible.length, median: times[15], slowest: times[30] };
    });
    context.diagnostic(`${view}: ${JSON.stringify(result)}`);
    assert.ok(result.median <= REDRAW_MS, `${result.median} ms`);
    await page.keyboard.press('i');
  }
  await assertQuiet(page);
});
