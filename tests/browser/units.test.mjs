// Tests without a browser: numbers as text, the view tree, search, colors, and the rules that the files keep.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ASSETS, scriptOrder } from './build.mjs';
import { loadPure } from './load.mjs';
import { delta } from './builder.mjs';
import { HOSTILE, KIB, LONG, REVERSED, large, small } from './sample.mjs';

const { format, data, values, tree, search, colors, describe } = loadPure();

const VIEW = { source: 0, subject: -1, exponent: 10, interval: [0, 5], diff: false, fold: true, inverted: false };

function build(raw, changes = {}) {
  const model = data.model(raw);
  const [measure] = values.measuresOf(model, model.sources[changes.source ?? 0]);
  const view = { ...VIEW, measure, ...changes };
  return { model, view, tree: tree.build(model, view) };
}

function measureNamed(raw, id, source = 0) {
  const model = data.model(raw);
  return values.measuresOf(model, model.sources[source]).find((measure) => measure.id === id);
}

/** Widths by path, "a > b": functions of several modules with one name add up. */
function widths({ model, tree: built }) {
  const sums = {};
  for (let box = 1; box < built.size; box++) {
    const path = tree.pathOf(model, built, box).join(' > ');
    sums[path] = (sums[path] ?? 0) + built.width[box];
  }
  return sums;
}

test('sizes have three digits, and are whole where they are exact', () => {
  const cases = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1025, '1.00 KiB'],
    [30_000, '29.3 KiB'],
    [65_536, '64 KiB'],
    [65_537, '64.0 KiB'],
    [10_239, '10.0 KiB'],
    [102_399, '100 KiB'],
    [1_048_575, '1.00 MiB'],
    [1_047_000, '1022 KiB'],
    [12_884_902, '12.3 MiB'],
    [3 * 2 ** 30, '3 GiB'],
    [1_363_149, '1.30 MiB'],
    [100_762, '98.4 KiB'],
    [-512, '-512 B'],
    [2 ** 64, '16 EiB'],
  ];
  for (const [value, text] of cases) assert.equal(format.bytes(value), text, String(value));
});

test('counts, durations, rates and shares are printed', () => {
  assert.deepEqual([0, 999, 1_004, 1_234_567, -1_234].map(format.count), ['0', '999', '1,004', '1,234,567', '-1,234']);
  const durations = [
    [0, '0ms'],
    [850, '850ms'],
    [10_200, '10.2s'],
    [59_999, '59.9s'],
    [125_000, '2m05s'],
    [7_500_000, '2h05m'],
    [273_600_000, '3d4h'],
  ];
  for (const [value, text] of durations) assert.equal(format.duration(value), text);
  assert.deepEqual([10, 12, 14, 16, 18, 20, 22].map(format.ageLimit), ['1s', '4s', '16s', '1m', '4m', '17m', '1h']);
  assert.deepEqual([0, 0.25, 9.96, 1_234.4, 9_999.6, 62_345, 6_204_000].map(format.rate), [
    '0',
    '0.3',
    '10',
    '1,234',
    '10.0 k',
    '62.3 k',
    '6.20 M',
  ]);
  assert.deepEqual([0, 2_048, -12.4, 0.5, 0.01].map(format.speed), [
    '0 B/s',
    '2 KiB/s',
    '-12 B/s',
    '30 B/min',
    '36 B/h',
  ]);
  assert.deepEqual(
    [
      [0, 10],
      [1, 100_000],
      [452, 1_000],
      [10, 10],
    ].map((pair) => format.share(...pair)),
    ['0%', '<0.1%', '45.2%', '100%'],
  );
  assert.equal(format.change(1_363_149, 'bytes'), '+1.30 MiB');
  assert.equal(format.value(null, 'bytes'), '');
  assert.equal(format.moment('2026-11-29T17:22:33.120Z'), '2026-11-29 17:22:33 UTC');
});

test('names have no character that reorders or hides text, and a length', () => {
  assert.equal(format.name(REVERSED), 'safe\\u202egnp.exe\\u202c_\\u0007bell');
  assert.equal(format.name(LONG, 20), `long_${'x'.repeat(14)}\u2026`);
  assert.equal(format.name(HOSTILE, 80), HOSTILE);
  assert.equal(format.name('\ud83d\ude00\ud83d\ude00', 3), '\ud83d\ude00\u2026');
});

test('lists over time are sums of their differences', () => {
  assert.deepEqual(data.undelta([5, 1, -2, 0]), [5, 6, 4, 4]);
  assert.deepEqual(data.undelta([null, null, 7, 1]), [null, null, 7, 8]);
  assert.deepEqual(data.undelta(delta([null, 3, null, 10])), [null, 3, null, 10]);
});

test('folded runs are one box, and sums go up to the root', () => {
  const built = build(small());
  assert.equal(built.tree.total, 1_032 * KIB);
  assert.deepEqual(widths(built), {
    // 1,000 KiB of the module "app", 24 KiB of "worker".
    main: 1_024 * KIB,
    'main > serve': 900 * KIB,
    'main > serve > parse_request': 600 * KIB,
    'main > serve > parse_request > (3 frames of alloc::vec)': 600 * KIB,
    'main > serve > Cache::insert': 300 * KIB,
    'main > serve > Cache::insert > malloc': 300 * KIB,
    'main > init': 100 * KIB,
    'main > init > malloc': 100 * KIB,
    'main > run': 24 * KIB,
    [`main > run > ${HOSTILE}`]: 24 * KIB,
    [`main > run > ${HOSTILE} > malloc`]: 24 * KIB,
    run: 8 * KIB,
    [`run > ${REVERSED}`]: 8 * KIB,
    [`run > ${REVERSED} > ${LONG}`]: 8 * KIB,
  });
  const all = build(small(), { fold: false });
  assert.equal(
    widths(all)[
      'main > serve > parse_request > alloc::vec::Vec<T>::with_capacity > alloc::raw_vec::RawVec<T>::allocate > __rust_alloc'
    ],
    600 * KIB,
  );
});

test('memory without a stack has a box of its own', () => {
  const built = build(small(), { source: 1 });
  assert.deepEqual(widths(built), {
    '[slab dentry]': 64 * KIB,
    entry_SYSCALL_64: 128 * KIB,
    'entry_SYSCALL_64 > d_alloc': 128 * KIB,
  });
});

test('a process has its own stacks only', () => {
  assert.equal(build(small(), { subject: 1 }).tree.total, 32 * KIB);
  assert.equal(build(small(), { subject: 0 }).tree.total, 1_000 * KIB);
});

test('inverted: the sums of the top boxes are those of the innermost functions', () => {
  const raw = large();
  const built = build(raw, { inverted: true, fold: false });
  const expected = new Map();
  raw.samples.node.forEach((node, sample) => {
    const name = raw.strings[raw.frames.name[raw.nodes.frame[node]]];
    expected.set(name, (expected.get(name) ?? 0) + raw.samples.values[0][sample]);
  });
  const top = new Map();
  for (let box = 1; box < built.tree.size; box++) {
    if (built.tree.parent[box] === 0) top.set(tree.boxText(built.model, built.tree, box), built.tree.width[box]);
  }
  assert.deepEqual(top, expected);
  const folded = widths(build(small(), { inverted: true }));
  assert.equal(folded.malloc, 424 * KIB);
  assert.equal(folded['malloc > Cache::insert > serve > main'], 300 * KIB);
  assert.equal(folded['(3 frames of alloc::vec) > parse_request > serve > main'], 600 * KIB);
});

test('children are inside of their parents, side by side, the widest first', () => {
  for (const inverted of [false, true]) {
    const { tree: built } = build(large(), { inverted });
    for (let box = 0; box < built.size; box++) {
      let at = built.left[box];
      let last = Infinity;
      for (let index = built.first[box]; index < built.first[box + 1]; index++) {
        const child = built.children[index];
        assert.equal(built.parent[child], box);
        assert.equal(built.left[child], at);
        assert.ok(built.width[child] <= last);
        last = built.width[child];
        at += last;
      }
      assert.ok(at <= built.left[box] + built.width[box]);
    }
  }
});

test('growth is the value at the end less that at the begin of the interval', () => {
  const raw = small();
  const measure = measureNamed(raw, 'growth');
  const whole = build(raw, { measure });
  assert.equal(whole.tree.total, 600 * KIB);
  assert.equal(whole.tree.shrunk, -24 * KIB);
  const part = build(raw, { measure, interval: [2, 4] });
  assert.equal(part.tree.total, 200 * KIB);
  assert.deepEqual(Object.keys(widths(part)).at(-1), 'main > serve > parse_request > (3 frames of alloc::vec)');
});

test('without a history, growth is what the profile has of changes', () => {
  const raw = small('moment');
  const names = values.measuresOf(data.model(raw), data.model(raw).sources[0]).map((measure) => measure.name);
  assert.deepEqual(names, [
    'live bytes',
    'live blocks',
    'allocated bytes',
    'change',
    'bytes older',
    'mean age (color)',
  ]);
  const built = build(raw, { measure: measureNamed(raw, 'signed:3') });
  assert.equal(built.tree.total, 100 * KIB);
  assert.equal(built.tree.shrunk, -24 * KIB);
});

test('only measures that a source has are offered', () => {
  const model = data.model(small());
  const names = values.measuresOf(model, model.sources[1]).map((measure) => measure.name);
  assert.deepEqual(names, ['live bytes', 'live objects']);
});

test('bytes older than a limit are those of whole buckets', () => {
  const raw = small();
  const measure = measureNamed(raw, 'older');
  assert.deepEqual(values.exponentsOf(data.model(raw), data.model(raw).sources[0]), [10, 12]);
  // 2^12 ms is the lower end of bucket 13: the 300 KiB in bucket 12 are younger or not much older.
  assert.equal(build(raw, { measure, exponent: 12 }).tree.total, (100 + 300 + 100) * KIB);
  assert.equal(build(raw, { measure, exponent: 10 }).tree.total, (300 + 100 + 300 + 100) * KIB);
});

test('the mean age is that of the bytes with an age', () => {
  const raw = small();
  const built = build(raw, { measure: measureNamed(raw, 'age') });
  const box = tree.follow(built.model, built.tree, ['main', 'serve', 'Cache::insert']);
  assert.equal(built.tree.width[box], 300 * KIB);
  assert.equal(built.tree.age[box] / built.tree.aged[box], 0.75 * 2 ** 14);
});

test('a difference has the width of the changes, and their sign', () => {
  const built = build(small('difference'), { diff: true });
  assert.equal(built.tree.total, (100 + 100 + 24 + 8) * KIB);
  assert.equal(built.tree.net[0], (100 + 100 - 24 - 8) * KIB);
  const at = (...path) => tree.follow(built.model, built.tree, path);
  const words = (box) => describe.box(built.model, built.tree, box, built.view);
  assert.equal(words(at('main', 'init')).extra, 'new');
  assert.equal(words(at('main', 'init')).value, '+100 KiB (0 B to 100 KiB), 43.1% of all changes');
  assert.equal(words(at('run')).extra, 'gone');
  assert.equal(words(at('run')).value, '-8 KiB (8 KiB to 0 B), 3.4% of all changes');
  // What did not change has no box.
  assert.equal(widths(built)['main > serve > Cache::insert'], undefined);
});

test('without an earlier profile, the difference is that of the interval', () => {
  const raw = small();
  const built = build(raw, { diff: true, interval: [2, 4] });
  assert.equal(built.tree.total, 224 * KIB);
  assert.equal(built.tree.net[0], 176 * KIB);
});

test('a search is a substring or a regular expression', () => {
  const hits = (text, ...names) => names.filter((name) => search.matcher(text).test(name));
  assert.deepEqual(hits('insert', 'Cache::insert', 'INSERT', 'x'), ['Cache::insert', 'INSERT']);
  assert.deepEqual(hits('Insert', 'Cache::insert', 'do_Insert'), ['do_Insert']);
  assert.deepEqual(hits('/^main$/', 'main', 'domain', 'MAIN'), ['main', 'MAIN']);
  assert.deepEqual(hits('/\\S+::I/', 'a::I', 'a::i'), ['a::I']);
  assert.deepEqual(hits('/\\S+::i/', 'a::I', 'a::i'), ['a::I', 'a::i']);
  assert.deepEqual(hits('a.b', 'a.b', 'axb'), ['a.b']);
  assert.match(search.matcher('/(/').error, /./);
  assert.equal(search.matcher('').test, null);
});

test('the matched share counts each stack once', () => {
  const raw = small();
  for (const fold of [true, false]) {
    for (const inverted of [true, false]) {
      const { model, tree: built } = build(raw, { fold, inverted });
      const width = (text) => search.matchedWidth(built, search.matches(model, search.matcher(text).test));
      assert.equal(width('malloc'), 424 * KIB);
      assert.equal(width('/serve|parse_request|rust_alloc/'), 900 * KIB);
      assert.equal(width('no such function'), 0);
    }
  }
  const { model, tree: built } = build(raw);
  const found = search.matches(model, search.matcher('rust_alloc').test);
  const boxes = search.matchingBoxes(model, built, found);
  const matching = [...boxes.keys()].filter((box) => boxes[box]).map((box) => tree.boxText(model, built, box));
  assert.deepEqual(matching, ['(3 frames of alloc::vec)']);
});

test('the function that wants the memory is beyond the folded frames', () => {
  const model = data.model(small());
  assert.deepEqual(
    [0, 1, 2, 5].map((sample) => data.wantedBy(model, sample)),
    ['parse_request', 'Cache::insert', 'init', 'slab dentry'],
  );
});

// ---- colors

/** Relative luminance by WCAG 2 of red, green and blue from 0 to 1. */
function luminanceOf(channels) {
  const [red, green, blue] = channels.map((value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function luminance(text) {
  const [hue, saturation, lightness] = text.match(/[\d.]+/g).map(Number);
  const amplitude = (saturation / 100) * Math.min(lightness / 100, 1 - lightness / 100);
  const channel = (offset) => {
    const k = (offset + hue / 30) % 12;
    return lightness / 100 - amplitude * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  };
  return luminanceOf([channel(0), channel(8), channel(4)]);
}

function luminanceOfHex(hex) {
  return luminanceOf([1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255));
}

test('text on a box has a contrast of 4.5 at least, in both themes', () => {
  const style = readFileSync(join(ASSETS, 'report/report.css'), 'utf8');
  const [light, dark] = [...style.matchAll(/--box-text: (#[0-9a-f]{6})/g)].map((match) => luminanceOfHex(match[1]));
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const fills = (isDark) => [
    ...Array.from({ length: 3_000 }, (_, index) => colors.ofName(`f${index}::g${index * 7}`, isDark)),
    ...[-1, -0.5, 0, 0.5, 1].map((value) => colors.ofChange(value, isDark)),
    ...[0, 0.5, 1].map((value) => colors.ofAge(value, isDark)),
  ];
  for (const fill of fills(false)) assert.ok(ratio(luminance(fill), light) >= 4.5, fill);
  for (const fill of fills(true)) assert.ok(ratio(luminance(fill), dark) >= 4.5, fill);
  for (const [theme, page] of [
    [false, luminanceOfHex('#ffffff')],
    [true, luminanceOfHex('#14171b')],
  ]) {
    for (let line = 0; line < 10; line++)
      assert.ok(ratio(luminanceOfHex(colors.ofLine(line, theme)), page) >= 3, `line ${line}`);
  }
});

test('a name has one color', () => {
  assert.equal(colors.ofName('alloc::vec', false), colors.ofName('alloc::vec', false));
  assert.notEqual(colors.ofName('alloc::vec', false), colors.ofName('tokio::run', false));
});

// ---- rules of the files

const report = join(ASSETS, 'report');
const scripts = readdirSync(report).filter((name) => name.endsWith('.js'));

test('the order names each script once', () => {
  assert.deepEqual([...scriptOrder()].sort(), [...scripts].sort());
});

test('scripts insert text only, are short, and say what they are for', () => {
  const forbidden =
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('style'|fetch\(|XMLHttpRequest|<\/script|<!--/;
  for (const name of scripts) {
    const text = readFileSync(join(report, name), 'utf8');
    assert.doesNotMatch(text, forbidden, name);
    assert.match(text, /^\/\/ .+\.\n/, name);
    assert.ok(text.split('\n').length - 1 <= (name === 'flame.js' ? 500 : 400), name);
  }
});

test('the markup has no inline handler, style or script', () => {
  assert.doesNotMatch(readFileSync(join(report, 'page.html'), 'utf8'), /\son\w+=|\sstyle=|<script|<style|https?:/i);
});

test('the vendored files are those of SHA256SUMS', () => {
  const folder = join(ASSETS, 'uplot');
  const lines = readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trim().split('\n');
  assert.equal(lines.length, 3);
  for (const line of lines) {
    const [sum, name] = line.split(/\s+/);
    assert.equal(
      createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex'),
      sum,
      name,
    );
  }
});
