// The view tree: pure functions from the data, a measure and a view (source, process, fold, inverted) to boxes.
(function (memlens) {
  'use strict';
  const { data, values: measured } = memlens;

  // ---- structure: boxes and their parents

  /** Boxes in the order of their making: a parent always comes before its children. */
  class Boxes {
    constructor(model) {
      this.model = model;
      this.parent = [-1];
      this.frame = [-1];
      this.fold = [-1];
      this.label = [null];
      this.mixed = [0];
      this.least = [0];
      this.most = [0];
      this.members = new Map();
      this.child = new Map();
      this.functionCount = model.functions.name.length;
      this.labelKeys = new Map();
      this.keys = this.functionCount + model.strings.length + model.raw.samples.source.length + 1;
    }

    find(parent, key) {
      const at = parent * this.keys + key;
      const known = this.child.get(at);
      if (known !== undefined) return known;
      this.child.set(at, this.parent.length);
      return -1;
    }

    add(parent, frame, fold, label) {
      this.parent.push(parent);
      this.frame.push(frame);
      this.fold.push(fold);
      this.label.push(label);
      this.mixed.push(0);
      this.least.push(0x7fffffff);
      this.most.push(0);
      return this.parent.length - 1;
    }

    ofFrame(parent, frame) {
      const found = this.find(parent, this.model.functions.of[frame]);
      if (found < 0) return this.add(parent, frame, -1, null);
      if (this.frame[found] !== frame) this.mixed[found] = 1;
      return found;
    }

    /** The box of a run of folded frames; `frame` is the run's first one seen. */
    ofFold(parent, frame, fold) {
      const found = this.find(parent, this.functionCount + fold);
      if (found >= 0) return found;
      const box = this.add(parent, frame, fold, null);
      this.members.set(box, new Set());
      return box;
    }

    join(box, frame) {
      this.members.get(box).add(this.model.functions.of[frame]);
      if (this.frame[box] !== frame) this.mixed[box] = 1;
    }

    /** A run of folded frames has this length in some stack. */
    runEnds(box, length) {
      this.least[box] = Math.min(this.least[box], length);
      this.most[box] = Math.max(this.most[box], length);
    }

    /** The box of memory without a stack. */
    ofLabel(label) {
      let key = this.labelKeys.get(label);
      if (key === undefined) this.labelKeys.set(label, (key = this.labelKeys.size));
      const found = this.find(0, this.functionCount + this.model.strings.length + key);
      return found >= 0 ? found : this.add(0, -1, -1, label);
    }
  }

  /** Boxes with the outermost frames on top: the box of each sample. */
  function callersFirst(model, samples, boxes, folded) {
    const { parent, frame, fold } = model;
    const needed = new Uint8Array(parent.length);
    for (const sample of samples) {
      for (let node = model.node[sample]; node >= 0 && !needed[node]; node = parent[node]) needed[node] = 1;
    }
    const boxOf = new Int32Array(parent.length);
    const run = new Int32Array(parent.length);
    for (let node = 0; node < parent.length; node++) {
      if (!needed[node]) continue;
      const up = parent[node];
      const inFold = folded && fold[node] >= 0;
      const above = up >= 0 ? boxOf[up] : 0;
      const continues = inFold && up >= 0 && fold[up] === fold[node];
      if (!continues && up >= 0 && run[up] > 0) boxes.runEnds(above, run[up]);
      if (!inFold) {
        boxOf[node] = boxes.ofFrame(above, frame[node]);
        continue;
      }
      boxOf[node] = continues ? above : boxes.ofFold(above, frame[node], fold[node]);
      run[node] = continues ? run[up] + 1 : 1;
      boxes.join(boxOf[node], frame[node]);
    }
    return (sample) => {
      const node = model.node[sample];
      if (run[node] > 0) boxes.runEnds(boxOf[node], run[node]);
      return boxOf[node];
    };
  }

  /** Boxes with the innermost frames on top, their callers below: the box of each sample. */
  function callersLast(model, boxes, folded) {
    const { parent, frame, fold } = model;
    const done = new Map();
    return (sample) => {
      const leaf = model.node[sample];
      const known = done.get(leaf);
      if (known !== undefined) return known;
      let box = 0;
      for (let node = leaf; node >= 0;) {
        if (!folded || fold[node] < 0) {
          box = boxes.ofFrame(box, frame[node]);
          node = parent[node];
          continue;
        }
        const name = fold[node];
        box = boxes.ofFold(box, frame[node], name);
        let length = 0;
        for (; node >= 0 && fold[node] === name; node = parent[node]) {
          boxes.join(box, frame[node]);
          length++;
        }
        boxes.runEnds(box, length);
      }
      done.set(leaf, box);
      return box;
    };
  }

  // ---- sums and layout

  /** Adds each sample's values to its box and to all boxes above. */
  function accumulate(parent, samples, boxOf, values, columns) {
    const sums = Object.fromEntries(columns.map((name) => [name, new Float64Array(parent.length)]));
    samples.forEach((sample, at) => {
      for (const name of columns) sums[name][boxOf[at]] += values[at][name];
    });
    for (const name of columns) {
      const sum = sums[name];
      for (let box = parent.length - 1; box > 0; box--) sum[parent[box]] += sum[box];
    }
    return sums;
  }

  /** Children of each box side by side, the widest first. */
  function childrenOf(parent, width) {
    const size = parent.length;
    const first = new Int32Array(size + 1);
    for (let box = 1; box < size; box++) first[parent[box] + 1]++;
    for (let box = 0; box < size; box++) first[box + 1] += first[box];
    const next = first.slice(0, size);
    const children = new Int32Array(Math.max(size - 1, 0));
    for (let box = 1; box < size; box++) children[next[parent[box]]++] = box;
    for (let box = 0; box < size; box++) {
      if (first[box + 1] - first[box] > 1) {
        children.subarray(first[box], first[box + 1]).sort((a, b) => width[b] - width[a] || a - b);
      }
    }
    return { first, children };
  }

  /** Position of each box in the unit of the width, and its depth. */
  function place(parent, width, { first, children }) {
    const left = new Float64Array(parent.length);
    const depth = new Int32Array(parent.length);
    for (let box = 0; box < parent.length; box++) {
      let at = left[box];
      for (let index = first[box]; index < first[box + 1]; index++) {
        const child = children[index];
        left[child] = at;
        depth[child] = depth[box] + 1;
        at += width[child];
      }
    }
    return { left, depth };
  }

  const COLUMNS = ['width', 'net', 'before', 'after', 'aged', 'age'];

  /** Builds the tree of a view: {source, subject, measure, interval, exponent, diff, fold, inverted}. */
  function build(model, view) {
    const source = model.sources[view.source];
    const valueOf = measured.sampleValue(model, source, view);
    const samples = [];
    const values = [];
    let shrunk = 0;
    for (const sample of measured.samplesOf(model, source, view.subject)) {
      const value = valueOf(sample);
      // Boxes have no negative width: what shrank is left out of the view of growth, and said beside it.
      if (value.width > 0) {
        samples.push(sample);
        values.push(value);
      } else shrunk += value.net;
    }
    const boxes = new Boxes(model);
    const stackBox = view.inverted
      ? callersLast(model, boxes, view.fold)
      : callersFirst(model, samples, boxes, view.fold);
    const boxOf = samples.map((sample) =>
      model.node[sample] < 0 ? boxes.ofLabel(data.labelOf(model, sample)) : stackBox(sample),
    );
    const parent = Int32Array.from(boxes.parent);
    const columns = view.diff || view.measure.kind === 'age' ? COLUMNS : ['width'];
    const sums = accumulate(parent, samples, boxOf, values, columns);
    const lists = childrenOf(parent, sums.width);
    return {
      size: parent.length,
      parent,
      boxes,
      samples,
      boxOf,
      shrunk,
      total: sums.width[0],
      sampleWidth: Float64Array.from(values, (value) => value.width),
      ...sums,
      ...lists,
      ...place(parent, sums.width, lists),
    };
  }

  /** What is written in a box. */
  function boxText(model, tree, box) {
    const { frame, fold, label, least, most, members } = tree.boxes;
    if (box === 0) return 'all';
    if (label[box] !== null) return label[box] ? `[${label[box]}]` : '(no stack)';
    const single = most[box] === 1 && members.get(box).size === 1;
    if (fold[box] >= 0 && !single) return data.foldText(model, fold[box], least[box], most[box]);
    return data.frameName(model, frame[box]);
  }

  /** The texts of a box and of those above it, outermost first: to find it again in another tree. */
  function pathOf(model, tree, box) {
    const path = [];
    for (; box > 0; box = tree.parent[box]) path.unshift(boxText(model, tree, box));
    return path;
  }

  /** The box at the end of a path, or the last one that is there. */
  function follow(model, tree, path) {
    let box = 0;
    for (const text of path) {
      const below = tree.children.subarray(tree.first[box], tree.first[box + 1]);
      const next = below.find((child) => boxText(model, tree, child) === text);
      if (next === undefined) break;
      box = next;
    }
    return box;
  }

  memlens.tree = { build, boxText, pathOf, follow };
})((globalThis.memlens ??= {}));
