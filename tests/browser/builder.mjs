// Builds data of the report by its contract: interned strings, frames and nodes, samples and their measures.

/** Differences of a list over time: null stays null. */
export function delta(list) {
  let last = 0;
  return list.map((value) => {
    if (value === null) return null;
    const step = value - last;
    last = value;
    return step;
  });
}

const MEASURES = {
  heap: [
    ['heap.live_bytes', 'live bytes', 'bytes', 'level'],
    ['heap.live_blocks', 'live blocks', 'count', 'level'],
    ['heap.alloc_bytes', 'allocated bytes', 'bytes', 'total'],
    ['heap.change_bytes', 'change', 'bytes', 'change'],
    ['heap.oldest_ms', 'oldest', 'ms', 'age'],
  ],
  kernel: [
    ['kernel.live_bytes', 'live bytes', 'bytes', 'level'],
    ['kernel.live_blocks', 'live objects', 'count', 'level'],
  ],
};
const SOURCE_NAMES = { heap: 'Heap', kernel: 'Kernel' };

/** Builds the interned tables. */
export class Builder {
  constructor(sources) {
    this.stringIds = new Map();
    this.strings = [];
    this.frameIds = new Map();
    this.nodeIds = new Map();
    this.frames = { name: [], module: [], file: [], line: [], inlined: [] };
    this.nodes = { parent: [], frame: [], fold: [] };
    this.sources = sources.map((key) => ({ key, name: SOURCE_NAMES[key] }));
    this.measures = sources.flatMap((source) =>
      MEASURES[source].map(([key, name, unit, kind]) => ({ key, source, name, unit, kind })),
    );
    this.samples = {
      source: [],
      subject: [],
      others: [],
      node: [],
      cut: [],
      label: [],
      course: [],
      holders: [],
      values: this.measures.map(() => []),
      before: null,
      ages: [],
      freed: [],
    };
    this.history = [];
  }

  string(text) {
    if (text === null || text === undefined || text === '') return -1;
    let id = this.stringIds.get(text);
    if (id === undefined) {
      id = this.strings.push(text) - 1;
      this.stringIds.set(text, id);
    }
    return id;
  }

  /** A frame: {name, module, file, line, inlined}. */
  frame({ name, module = 'app', file = '', line = 0, inlined = 0 }) {
    const key = JSON.stringify([name, module, file, line, inlined]);
    let id = this.frameIds.get(key);
    if (id === undefined) {
      id = this.frames.name.push(this.string(name)) - 1;
      this.frames.module.push(this.string(module));
      this.frames.file.push(this.string(file));
      this.frames.line.push(line);
      this.frames.inlined.push(inlined);
      this.frameIds.set(key, id);
    }
    return id;
  }

  node(parent, frame, fold) {
    const key = `${parent} ${frame} ${fold}`;
    let id = this.nodeIds.get(key);
    if (id === undefined) {
      id = this.nodes.parent.push(parent) - 1;
      this.nodes.frame.push(frame);
      this.nodes.fold.push(fold);
      this.nodeIds.set(key, id);
    }
    return id;
  }

  /** The innermost node of a stack, given outermost first; each frame may have a `fold`. */
  stack(frames) {
    return frames.reduce((parent, frame) => this.node(parent, this.frame(frame), this.string(frame.fold)), -1);
  }

  /** A sample: {source, subject, node, values: {key: value}, history, ...}. */
  sample(sample) {
    const { samples } = this;
    samples.source.push(sample.source ?? 0);
    samples.subject.push(sample.subject);
    samples.others.push(sample.others ?? 0);
    samples.node.push(sample.node);
    samples.cut.push(this.string(sample.cut));
    samples.label.push(this.string(sample.label));
    samples.course.push(this.string(sample.course));
    samples.holders.push((sample.holders ?? []).map((holder) => this.string(holder)));
    this.measures.forEach(({ key }, index) => samples.values[index].push(sample.values[key] ?? null));
    samples.ages.push(sample.ages ?? []);
    samples.freed.push(sample.freed ?? []);
    this.history.push(sample.history ?? []);
    return this.history.length - 1;
  }

  finish(rest) {
    const { strings, frames, nodes, sources, measures, samples } = this;
    return { version: 1, sources, measures, strings, frames, nodes, samples, ...rest };
  }
}
