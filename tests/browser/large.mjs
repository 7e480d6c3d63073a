// Large sample data: many stacks that share most of their callers; the same bytes at each run.
import { Builder, delta } from './builder.mjs';

/** Numbers that look random and are the same at each run (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const SPACES = [
  'alloc',
  'core',
  'std',
  'tokio',
  'hyper',
  'serde_json',
  'redis',
  'app',
  'PyEval',
  'ngx',
  'OPENSSL',
  'sqlite3',
  'rocksdb',
  'absl',
];
const VERBS = [
  'poll',
  'run',
  'handle',
  'insert',
  'parse',
  'read',
  'write',
  'open',
  'grow',
  'clone',
  'decode',
  'encode',
  'update',
  'resolve',
  'visit',
  'build',
];
const NOUNS = [
  'request',
  'table',
  'buffer',
  'session',
  'frame',
  'index',
  'row',
  'value',
  'node',
  'header',
  'cache',
  'page',
  'task',
  'entry',
  'block',
  'stream',
];
const MODULES = ['server', 'libpython3.11.so.1.0', 'libssl.so.3', 'libc.so.6', 'librocksdb.so.8'];

function makeFunctions(random, number) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  return Array.from({ length: number }, (_, index) => {
    const space = pick(SPACES);
    const separator = /^[a-z]+$/.test(space) && space !== 'ngx' ? '::' : '_';
    const generic = random() < 0.15 ? '<T, A>' : '';
    return {
      name: `${space}${separator}${pick(NOUNS)}${generic}${separator}${pick(VERBS)}${index % 7 === 0 ? `_${pick(NOUNS)}` : ''}`,
      module: pick(MODULES),
      file: `src/${space.toLowerCase()}/${pick(NOUNS)}.rs`,
    };
  });
}

const TRUNKS = 14;

/** Stacks that share most of their callers: each new one keeps a part of an earlier one, some little of it. */
function makeStacks(random, locations, { stacks, meanDepth, fresh }) {
  const made = [];
  for (let at = 0; at < stacks; at++) {
    const base = at === 0 ? [] : made[Math.floor(at * random())];
    // Threads and event loops branch near the top, most stacks near their end.
    const trunk = at < TRUNKS;
    const early = trunk || random() < 0.018;
    const depth = meanDepth - 6 + Math.floor(random() * 13);
    const branch = trunk ? 1 + Math.floor(random() * 8) : 4 + Math.floor(random() * meanDepth * 0.8);
    const kept = early ? branch : depth - 1 - Math.floor(random() * (2 * fresh - 1));
    const stack = base.slice(0, Math.max(kept, 0));
    while (stack.length < (at === 0 || early ? depth : Math.min(depth, kept + 2 * fresh))) {
      stack.push(locations[Math.floor(random() * locations.length)]);
    }
    made.push(stack);
  }
  return made;
}

function course(random, points) {
  const size = Math.floor(64 * 2 ** (random() * 14));
  const kind = random();
  if (kind < 0.7) return { values: Array(points).fill(size), course: 'steady' };
  let value = Math.floor(size / 4);
  const step = Math.max(Math.floor(size / points), 1);
  const values = Array.from({ length: points }, () => {
    if (kind < 0.8) value += Math.floor(step * 2 * random());
    else if (random() < 0.3) value = Math.max(value + Math.floor(step * 4 * (random() - 0.5)), 16);
    return value;
  });
  return { values, course: kind < 0.8 ? 'growing' : 'turnover' };
}

function spread(random, total, most) {
  const buckets = Array(2 + Math.floor(random() * (most - 2))).fill(0);
  for (let left = total; left > 0;) {
    const part = Math.min(Math.ceil(left * (0.2 + random() * 0.5)), left);
    buckets[Math.floor(Math.sqrt(random()) * buckets.length)] += part;
    left -= part;
  }
  return buckets;
}

/** Many stacks of three processes over an hour. */
export function large({
  stacks = 2_005,
  meanDepth = 43,
  fresh = 0.5,
  points = 60,
  functions = 453,
  locations = 1_558,
  seed = 7,
} = {}) {
  const random = randomFrom(seed);
  const b = new Builder(['heap']);
  const known = makeFunctions(random, functions);
  const places = Array.from({ length: locations }, () => {
    const of = known[Math.floor(random() * known.length)];
    return {
      ...of,
      line: 1 + Math.floor(random() * 900),
      fold: /^(alloc|core|std)/.test(of.name) ? of.name.split('::')[0] : '',
    };
  });
  for (const stack of makeStacks(random, places, { stacks, meanDepth, fresh })) {
    const { values, course: name } = course(random, points);
    const live = values[points - 1];
    const blocks = Math.max(Math.round(live / (32 + random() * 4_000)), 1);
    const subject = Math.floor(random() ** 3 * 3);
    b.sample({
      subject,
      course: name,
      others: random() < 0.1 ? 3 : 0,
      node: b.stack([...stack, { name: 'malloc', module: 'libc.so.6', fold: 'the allocator' }]),
      values: {
        'heap.live_bytes': live,
        'heap.live_blocks': blocks,
        'heap.alloc_bytes': live * (1 + Math.floor(random() * 9)),
        'heap.change_bytes': values[points - 1] - values[points - 2],
        'heap.oldest_ms': Math.floor(random() * 3_600_000),
      },
      ages: spread(random, live, 22),
      freed: random() < 0.4 ? spread(random, blocks, 18) : [],
      history: values,
    });
  }
  const sums = [0, 1, 2].map((subject) =>
    Array.from({ length: points }, (_, point) =>
      b.history.reduce((sum, values, at) => sum + (b.samples.subject[at] === subject ? values[point] : 0), 0),
    ),
  );
  const growth = b.history.map((values, at) => [values[points - 1] - values[0], at]).sort((x, y) => y[0] - x[0]);
  const name = (at) => b.strings[b.frames.name[b.nodes.frame[b.nodes.parent[b.samples.node[at]]]]];
  const finding = (kind, rank, text, extra = {}) => ({
    kind,
    text: `${kind}: ${name(growth[rank][1])} ${text}`,
    sample: growth[rank][1],
    commands: [],
    holder: '',
    ...extra,
  });
  return b.finish({
    title: 'api-server (4242) and 2 other processes',
    meta: {
      time: '2026-11-29T17:22:33.120Z',
      elapsed_ms: 3_600_000,
      host: 'web1',
      kernel: '6.18.5',
      memlens: '0.1.0',
      from: null,
    },
    complete: true,
    losses: [],
    notes: [
      'Blocks that are older than the trace are not counted.',
      'Of each thread, stacks are at most 127 frames deep.',
    ],
    findings: [
      finding('leak', 0, 'grows by 1.30 MiB/min (1.21 to 1.39 MiB/min), and nothing points to 84% of it.', {
        commands: ['memlens leaks -p 4242 --older 1m'],
        holder: 'nothing: 1,004 lost blocks',
      }),
      finding('collection', 1, 'holds 12,041 blocks in a table that only grows.', {
        holder: 'global SESSIONS -> 8 KiB (rehash) -> 4 linked blocks of 32 B (insert)',
      }),
      finding('cache', 2, 'filled to 4.10 MiB and grows no more since 2m 5s.'),
      finding('turnover', 3, 'allocates 98.4 KiB/s and frees as much.'),
      {
        kind: 'outlook',
        text: 'outlook: the cgroup limit of 512 MiB is reached in 5h 12m if this goes on.',
        sample: -1,
        commands: [],
        holder: '',
      },
    ],
    subjects: [
      ['api-server', 4242, 'docker:3f2a91', 'running'],
      ['worker', 4250, 'docker:3f2a91', 'running'],
      ['cron', 977, '', 'exited'],
    ].map(([of, pid, place, state], index) => ({
      name: of,
      pid,
      place,
      state,
      totals: { 'heap.live_bytes': sums[index][points - 1] },
      verdict: index === 0 ? 'growing' : '',
    })),
    history: {
      at_ms: Array.from({ length: points }, (_, point) => Math.round((point * 3_600_000) / (points - 1))),
      subjects: [{ measure: 0, values: sums.map(delta) }],
      samples: [{ measure: 0, values: b.history.map(delta) }],
    },
    ledger: {
      total: 402_653_184,
      rows: [
        [
          'heap (brk)',
          160,
          172,
          4,
          [
            ['live blocks', 112],
            ['free blocks of the allocator', 40],
            ['overhead of the allocator', 8],
          ],
        ],
        [
          'anonymous mappings',
          120,
          512,
          0,
          [
            ['thread arenas', 70],
            ['large blocks', 50],
          ],
        ],
        [
          'files',
          80,
          240,
          0,
          [
            ['api-server', 30],
            ['libpython3.11.so.1.0', 28],
            ['librocksdb.so.8', 22],
          ],
        ],
        ['stacks of threads', 14, 256, 0, []],
        ['page tables', 6, 6, 0, []],
        ['shared memory', 4, 64, 0, []],
      ].map(([of, rss, size, swap, rows]) => ({
        name: of,
        rss: rss * 2 ** 20,
        size: size * 2 ** 20,
        swap: swap * 2 ** 20,
        rows: rows.map(([inner, amount]) => ({
          name: inner,
          rss: amount * 2 ** 20,
          size: amount * 2 ** 20,
          swap: 0,
          rows: [],
        })),
      })),
    },
  });
}

/** About 100,000 nodes, for the time of drawing. */
export function huge() {
  return large({ stacks: 26_500, meanDepth: 38, fresh: 0.7, points: 2, functions: 5_000, locations: 20_000 });
}

/** The large sample as a difference of two moments. */
export function largeDifference() {
  const data = large();
  const random = randomFrom(3);
  data.meta.from = '2026-11-29T16:22:33.000Z';
  data.samples.before = data.samples.values.map((column) =>
    column.map((value) => {
      const kind = random();
      return kind < 0.6 ? value : kind < 0.65 ? null : Math.floor((value ?? 0) * 2 * random());
    }),
  );
  data.history = null;
  return data;
}
