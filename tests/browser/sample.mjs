// Sample data by the contract of the report: a small one, whose every figure is known by hand, and large ones.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Builder, delta } from './builder.mjs';
import { huge, large, largeDifference } from './large.mjs';

export { huge, large, largeDifference };

export const KIB = 1024;
export const HOSTILE = '</script><img src=x onerror=alert(1)>';
export const REVERSED = 'safe\u202egnp.exe\u202c_\u0007bell';
export const LONG = `long_${'x'.repeat(10_000)}`;

const MALLOC = { name: 'malloc', module: 'libc.so.6', fold: 'the allocator' };
const VEC = [
  { name: 'alloc::vec::Vec<T>::with_capacity', file: 'vec/mod.rs', line: 501, fold: 'alloc::vec', inlined: 1 },
  { name: 'alloc::raw_vec::RawVec<T>::allocate', file: 'raw_vec.rs', line: 170, fold: 'alloc::vec' },
  { name: '__rust_alloc', file: 'alloc.rs', line: 92, fold: 'alloc::vec' },
];
const SERVE = [
  { name: 'main', file: 'main.rs', line: 10 },
  { name: 'serve', file: 'server.rs', line: 42 },
];

/** Seven samples, whose every figure is known. `kind`: "history", "difference" or "moment". */
export function small(kind = 'history') {
  const b = new Builder(['heap', 'kernel']);
  const heap = (live, blocks, alloc, change, oldest) => ({
    'heap.live_bytes': live,
    'heap.live_blocks': blocks,
    'heap.alloc_bytes': alloc,
    'heap.change_bytes': change,
    'heap.oldest_ms': oldest,
  });
  const bucket = (entries) => {
    const list = Array(Math.max(...Object.keys(entries).map(Number)) + 1).fill(0);
    for (const [at, value] of Object.entries(entries)) list[at] = value;
    return list;
  };
  b.sample({
    subject: 0,
    others: 2,
    course: 'growing',
    holders: ['global sessions -> 8 KiB (rehash)'],
    node: b.stack([...SERVE, { name: 'parse_request', file: 'http.rs', line: 77 }, ...VEC]),
    values: heap(600 * KIB, 600, 900 * KIB, 100 * KIB, 9_800),
    freed: bucket({ 3: 290, 8: 10 }),
    ages: bucket({ 10: 200 * KIB, 12: 300 * KIB, 14: 100 * KIB }),
    history: [100, 200, 300, 400, 500, 600].map((n) => n * KIB),
  });
  b.sample({
    subject: 0,
    course: 'steady',
    node: b.stack([...SERVE, { name: 'Cache::insert', file: 'cache.rs', line: 5 }, MALLOC]),
    values: heap(300 * KIB, 3, 300 * KIB, 0, 10_100),
    ages: bucket({ 14: 300 * KIB }),
    history: Array(6).fill(300 * KIB),
  });
  b.sample({
    subject: 0,
    node: b.stack([{ name: 'main', file: 'main.rs', line: 20 }, { name: 'init', file: 'main.rs', line: 30 }, MALLOC]),
    values: heap(100 * KIB, 1, 100 * KIB, 0, 5_000),
    ages: bucket({ 13: 100 * KIB }),
    history: [null, null, 100 * KIB, 100 * KIB, 100 * KIB, 100 * KIB],
  });
  b.sample({
    subject: 1,
    node: b.stack([
      { name: 'main', module: 'worker' },
      { name: 'run', module: 'worker' },
      { name: HOSTILE, module: 'worker' },
      MALLOC,
    ]),
    values: heap(24 * KIB, 24, 480 * KIB, -24 * KIB, 100),
    freed: bucket({ 1: 456 }),
    ages: bucket({ 7: 24 * KIB }),
    history: [48, 48, 48, 48, 24, 24].map((n) => n * KIB),
  });
  b.sample({
    subject: 1,
    cut: 'the stack is deeper than 127 frames',
    node: b.stack([
      { name: 'run', module: 'worker' },
      { name: REVERSED, module: 'worker' },
      { name: LONG, module: 'worker' },
    ]),
    values: heap(8 * KIB, 1, 8 * KIB, 0, 4_000),
  });
  b.sample({
    source: 1,
    subject: 0,
    node: -1,
    label: 'slab dentry',
    values: { 'kernel.live_bytes': 64 * KIB, 'kernel.live_blocks': 341 },
  });
  b.sample({
    source: 1,
    subject: 0,
    node: b.stack([
      { name: 'entry_SYSCALL_64', module: 'kernel' },
      { name: 'd_alloc', module: 'kernel' },
    ]),
    values: { 'kernel.live_bytes': 128 * KIB, 'kernel.live_blocks': 682 },
  });
  const data = b.finish({
    title: `redis-server (100) ${HOSTILE}`,
    meta: {
      time: '2026-11-29T17:22:33.120Z',
      elapsed_ms: 10_200,
      host: 'web1',
      kernel: '6.18.5',
      memlens: '0.1.0',
      from: null,
    },
    complete: false,
    losses: ['3 allocations were not counted: the table of blocks was full.'],
    notes: ['Blocks that are older than the trace are not counted.'],
    findings: [
      {
        kind: 'leak',
        text: 'leak: parse_request grows by 50 KiB/s',
        sample: 0,
        commands: ['memlens leaks -p 100 --older 10s'],
        holder: 'global sessions -> 8 KiB (rehash)',
      },
      {
        kind: 'turnover',
        text: `turnover: ${HOSTILE} allocates 480 KiB and keeps 24 KiB`,
        sample: 3,
        commands: [],
        holder: '',
      },
      { kind: 'next', text: 'next: look at the kernel memory', sample: 6, commands: [], holder: '' },
    ],
    subjects: [
      {
        name: 'redis-server',
        pid: 100,
        place: 'docker:3f2a',
        state: 'running',
        totals: { 'heap.live_bytes': 1_000 * KIB },
        verdict: 'growing',
      },
      { name: HOSTILE, pid: 200, place: '', state: 'exited', totals: { 'heap.live_bytes': 32 * KIB }, verdict: '' },
    ],
    history: {
      at_ms: [0, 2_000, 4_000, 6_000, 8_000, 10_000],
      subjects: [
        {
          measure: 0,
          values: [
            [400, 500, 700, 800, 900, 1_000],
            [null, 48, 48, 48, 32, 32],
          ].map((list) => delta(list.map((n) => n && n * KIB))),
        },
      ],
      samples: [{ measure: 0, values: b.history.map(delta) }],
    },
    ledger: {
      total: 4_096 * KIB,
      rows: [
        {
          name: 'brk heap',
          rss: 2_048 * KIB,
          size: 2_560 * KIB,
          swap: 128 * KIB,
          rows: [
            { name: 'live blocks', rss: 1_032 * KIB, size: 1_032 * KIB, swap: 0, rows: [] },
            { name: HOSTILE, rss: 1_016 * KIB, size: 1_016 * KIB, swap: 0, rows: [] },
          ],
        },
        { name: 'files', rss: 1_536 * KIB, size: 8_192 * KIB, swap: 0, rows: [] },
        { name: 'stacks', rss: 512 * KIB, size: 8_192 * KIB, swap: 0, rows: [] },
      ],
    },
  });
  if (kind === 'history') return data;
  data.history = null;
  if (kind === 'difference') {
    data.meta.from = '2026-11-29T17:12:33.000Z';
    data.samples.before = data.samples.values.map((column) => [...column]);
    // Sample 0 has more than before, 1 is as it was, 2 is new, 3 has less; sample 4 is gone.
    data.samples.before[0] = [500 * KIB, 300 * KIB, null, 48 * KIB, 8 * KIB, null, null];
    data.samples.values[0][4] = 0;
    data.subjects[1].totals = { 'heap.live_bytes': 24 * KIB };
  }
  return data;
}

/** A report without stacks: findings only. */
export function empty() {
  const data = new Builder(['heap']).finish({});
  const { title, meta } = small();
  return {
    ...data,
    title,
    meta,
    complete: true,
    losses: [],
    notes: [],
    findings: [
      { kind: 'too_early', text: 'too early: nothing was allocated yet', sample: -1, commands: [], holder: '' },
    ],
    subjects: [],
    history: null,
    ledger: null,
  };
}

// node sample.mjs small|difference|moment|large|huge|large-difference FILE.json
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const makers = {
    small,
    difference: () => small('difference'),
    moment: () => small('moment'),
    large,
    huge,
    'large-difference': largeDifference,
  };
  writeFileSync(process.argv[3], JSON.stringify(makers[process.argv[2]]()));
}
