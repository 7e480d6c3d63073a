// Tests of the icicle in a browser: search, zoom, keys, measures, inverted and difference views.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertQuiet, boxAt, cells, clickBox, openData, pressed, selectedName, text, zoomedName } from './harness.mjs';
import { HOSTILE, LONG, large, small } from './sample.mjs';

test('search highlights boxes and says the matched share', async () => {
  const page = await openData(small());
  await page.keyboard.press('/');
  await page.keyboard.type('malloc');
  assert.equal(await text(page, '#matched'), '41.1% matched, 424 KiB');
  const highlighted = await page.evaluate(() => {
    const { flame, model } = globalThis.memlens.page;
    return [...flame.matching.keys()]
      .filter((box) => flame.matching[box])
      .map((box) => globalThis.memlens.tree.boxText(model, flame.tree, box));
  });
  assert.deepEqual(highlighted, ['malloc', 'malloc', 'malloc']);
  // The color of the pixels, too: a matching box is highlighted, another one is dimmed.
  const colorOf = (path) =>
    page.evaluate((names) => {
      const { flame, model } = globalThis.memlens.page;
      flame.draw();
      const { x, y } = flame.center(globalThis.memlens.tree.follow(model, flame.tree, names));
      return [...flame.context.getImageData(Math.round(x), Math.round(y) - 7, 1, 1).data.slice(0, 3)];
    }, path);
  assert.deepEqual(await colorOf(['main', 'init', 'malloc']), [0xff, 0xc5, 0x3d]);
  assert.deepEqual(await colorOf(['main', 'serve']), [0xf0, 0xf1, 0xf3]);
  assert.deepEqual(await cells(page, 'function'), ['Cache::insert', 'init', HOSTILE]);
  await page.fill('#search', '/Parse|^INIT/');
  assert.equal(await text(page, '#matched'), '0% matched, 0 B');
  await page.fill('#search', '/parse|^init/');
  assert.equal(await text(page, '#matched'), '67.8% matched, 700 KiB');
  await page.fill('#search', '/(/');
  assert.equal(await text(page, '#matched'), 'Not a regular expression: Unterminated group');
  assert.equal(await page.getAttribute('#search', 'aria-invalid'), 'true');
  await page.keyboard.press('Escape');
  assert.equal(await page.inputValue('#search'), '');
  assert.equal(await text(page, '#matched'), '');
  assert.equal((await cells(page, 'function')).length, 5);
  await assertQuiet(page);
});

test('a click zooms, Escape resets the search first and then the zoom', async () => {
  const page = await openData(small());
  await clickBox(page, ['main', 'serve']);
  assert.equal(await zoomedName(page), 'serve');
  const width = await page.evaluate(() => {
    const { flame } = globalThis.memlens.page;
    const at = flame.visible.box.subarray(0, flame.visible.length).indexOf(flame.zoomed);
    return [flame.visible.left[at], flame.visible.width[at] - flame.pixels];
  });
  assert.deepEqual(width, [0, 0]);
  assert.match(await text(page, '#list-caption'), /^2 of 5 stacks through serve$/);
  assert.deepEqual(await cells(page, 'function'), ['parse_request', 'Cache::insert']);
  await page.keyboard.press('/');
  await page.keyboard.type('parse');
  assert.deepEqual(await cells(page, 'function'), ['parse_request']);
  await page.keyboard.press('Escape');
  assert.equal(await page.inputValue('#search'), '');
  assert.equal(await zoomedName(page), 'serve');
  await page.keyboard.press('Escape');
  assert.equal(await zoomedName(page), 'all');
  await clickBox(page, ['main', 'serve']);
  await page.click('#zoom-reset');
  assert.equal(await zoomedName(page), 'all');
  assert.equal((await cells(page, 'function')).length, 5);
  await assertQuiet(page);
});

test('the arrow keys move the selected frame, Enter zooms', async () => {
  const page = await openData(small());
  await page.focus('#flame');
  const moves = [
    ['ArrowDown', 'all'],
    ['ArrowDown', 'main'],
    ['ArrowDown', 'serve'],
    ['ArrowRight', 'init'],
    ['ArrowRight', 'init'],
    ['ArrowLeft', 'serve'],
    ['ArrowDown', 'parse_request'],
    ['ArrowRight', 'Cache::insert'],
    ['ArrowDown', 'malloc'],
    ['ArrowDown', 'malloc'],
    ['ArrowUp', 'Cache::insert'],
  ];
  for (const [key, name] of moves) {
    await page.keyboard.press(key);
    assert.equal(await selectedName(page), name, key);
  }
  assert.equal(await text(page, '#selected-words'), 'Cache::insert, 300 KiB, 29.1%, app cache.rs:5');
  assert.equal(
    await page.evaluate(() => document.getElementById('live').textContent),
    'Cache::insert, 300 KiB, 29.1%, app cache.rs:5',
  );
  await page.keyboard.press('Enter');
  assert.equal(await zoomedName(page), 'Cache::insert');
  await assertQuiet(page);
});

test('the tooltip has name, value, share, module and position', async () => {
  const page = await openData(small());
  const { x, y } = await boxAt(page, ['main', 'serve', 'parse_request']);
  await page.mouse.move(x, y);
  assert.deepEqual((await text(page, '#tooltip')).split('\n'), ['parse_request', '600 KiB, 58.1%', 'app http.rs:77']);
  await page.mouse.move(x, 5);
  assert.equal(await page.isHidden('#tooltip'), true);
  await assertQuiet(page);
});

test('the keys i, a, d and ? work, and not while typing', async () => {
  const page = await openData(small());
  const top = () =>
    page.evaluate(() => {
      const {
        flame: { tree },
        model,
      } = globalThis.memlens.page;
      const name = (box) => globalThis.memlens.tree.boxText(model, tree, box);
      return [...tree.children.subarray(0, tree.first[1])].map((box) => [name(box), tree.width[box] / 1024]);
    });
  await page.keyboard.press('i');
  assert.equal(await pressed(page, '#invert'), 'true');
  assert.deepEqual(await top(), [
    ['(3 frames of alloc::vec)', 600],
    ['malloc', 424],
    [LONG, 8],
  ]);
  await page.keyboard.press('a');
  assert.equal(await pressed(page, '#frames'), 'true');
  assert.deepEqual((await top())[0], ['__rust_alloc', 600]);
  await page.keyboard.press('i');
  await page.keyboard.press('a');
  await page.keyboard.press('d');
  assert.equal(await pressed(page, '#diff'), 'true');
  assert.match(
    await text(page, '#caption'),
    /^Difference of live bytes from 0s to 10.0s \(10.0s\): \+576 KiB; \+600 KiB \(red\) and -24 KiB \(blue\) in 3 stacks$/,
  );
  await page.keyboard.press('d');
  await page.keyboard.press('?');
  assert.equal(await page.isVisible('#help'), true);
  await page.keyboard.press('i');
  await page.keyboard.press('Escape');
  assert.equal(await page.isVisible('#help'), false);
  await page.focus('#search');
  await page.keyboard.type('aid?');
  assert.equal(await page.inputValue('#search'), 'aid?');
  for (const id of ['#invert', '#diff', '#frames']) assert.equal(await pressed(page, id), 'false');
  await assertQuiet(page);
});

test('inverted sums of the large sample are those of the innermost functions', async () => {
  const data = large();
  const page = await openData(data);
  await page.keyboard.press('a');
  await page.keyboard.press('i');
  const shown = await page.evaluate(() => {
    const {
      flame: { tree },
      model,
    } = globalThis.memlens.page;
    return [...tree.children.subarray(0, tree.first[1])].map((box) => [
      globalThis.memlens.tree.boxText(model, tree, box),
      tree.width[box],
    ]);
  });
  const total = data.samples.values[0].reduce((sum, value) => sum + value, 0);
  assert.deepEqual(shown, [['malloc', total]]);
  await assertQuiet(page);
});

test('a difference of two profiles is shown at once, red for more and blue for less', async () => {
  const page = await openData(small('difference'));
  assert.match(await text(page, '#meta'), /from 2026-11-29 17:12:33 UTC to 2026-11-29 17:22:33 UTC/);
  assert.equal(await pressed(page, '#diff'), 'true');
  assert.equal(
    await text(page, '#caption'),
    'Difference of live bytes: +168 KiB; +200 KiB (red) and -32 KiB (blue) in 4 stacks',
  );
  const hueOf = (path) =>
    page.evaluate((names) => {
      const { flame, model } = globalThis.memlens.page;
      return /hsl\((\d+)/.exec(flame.ownFill(globalThis.memlens.tree.follow(model, flame.tree, names)))[1];
    }, path);
  assert.equal(await hueOf(['main', 'serve']), '6');
  assert.equal(await hueOf(['run']), '214');
  const { x, y } = await boxAt(page, ['main', 'init']);
  await page.mouse.move(x, y);
  assert.match(await text(page, '#tooltip'), /\+100 KiB \(0 B to 100 KiB\), 43\.1% of all changes\s+new/);
  await page.keyboard.press('d');
  assert.equal(await text(page, '#caption'), 'Live bytes: 1 MiB in 4 stacks');
  await assertQuiet(page);
});

test('data of one moment has no difference and no chart', async () => {
  const page = await openData(small('moment'));
  assert.equal(await page.isDisabled('#diff'), true);
  await page.keyboard.press('d');
  assert.equal(await pressed(page, '#diff'), 'false');
  assert.equal(await page.isHidden('#series'), true);
  assert.deepEqual(await cells(page, 'growth'), ['+100 KiB', '0 B', '0 B', '-24 KiB', '0 B']);
  await assertQuiet(page);
});

test('measures: allocated bytes, older than, mean age, per source and process', async () => {
  const page = await openData(small());
  const names = await page.locator('#measure option').allInnerTexts();
  assert.deepEqual(names, [
    'live bytes',
    'live blocks',
    'allocated bytes',
    'growth',
    'bytes older',
    'mean age (color)',
  ]);
  await page.selectOption('#measure', 'column:1');
  assert.equal(await text(page, '#caption'), 'Live blocks: 629 in 5 stacks');
  await page.selectOption('#measure', 'older');
  assert.deepEqual(await page.locator('#exponent option').allInnerTexts(), ['1s', '4s']);
  await page.selectOption('#exponent', '12');
  assert.equal(await text(page, '#caption'), 'Bytes older than 4s: 500 KiB in 3 stacks');
  await page.selectOption('#measure', 'age');
  const { x, y } = await boxAt(page, ['main', 'serve', 'Cache::insert']);
  await page.mouse.move(x, y);
  assert.match(await text(page, '#tooltip'), /mean age 12\.2s/);
  await page.selectOption('#subject', '1');
  assert.match(await text(page, '#caption'), /^Live bytes: 32 KiB in 2 stacks/);
  await page.selectOption('#source', '1');
  assert.deepEqual(await page.locator('#measure option').allInnerTexts(), ['live bytes', 'live objects']);
  assert.equal(await text(page, '#caption'), 'Live bytes: 192 KiB in 2 stacks');
  assert.equal(await page.isHidden('#ages'), true);
  await assertQuiet(page);
});
