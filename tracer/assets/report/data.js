// The data of the report: decoding, lookup tables, stacks as lists of frames.
(function (memlens) {
  'use strict';

  /** Reads the data element: JSON as it is, or base64 of gzip where the JSON is large. */
  async function read(element) {
    if (element.type === 'application/json') return JSON.parse(element.textContent);
    const packed = atob(element.textContent.trim());
    const bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return JSON.parse(await new Response(stream).text());
  }

  /** A list over time: the first value as it is, then differences; null is "not there". */
  function undelta(list) {
    let sum = 0;
    return list.map((step) => (step === null ? null : (sum += step)));
  }

  /** Functions: frames that differ in their line only are one function. */
  function functionsOf(frames) {
    const ids = new Map();
    const of = new Int32Array(frames.name.length);
    const name = [];
    const module = [];
    for (let frame = 0; frame < of.length; frame++) {
      const key = `${frames.name[frame]} ${frames.module[frame]}`;
      let id = ids.get(key);
      if (id === undefined) {
        id = name.length;
        ids.set(key, id);
        name.push(frames.name[frame]);
        module.push(frames.module[frame]);
      }
      of[frame] = id;
    }
    return { of, name, module };
  }

  /** The measures of a source in the roles that the page has for them; -1 where there is none. */
  function rolesOf(measures, source) {
    const find = (test) => measures.findIndex((measure) => measure.source === source && test(measure));
    const first = (...tests) => tests.map(find).find((index) => index >= 0) ?? -1;
    return {
      primary: first(
        (m) => m.key.endsWith('.live_bytes'),
        (m) => m.kind === 'level' && m.unit === 'bytes',
        (m) => m.kind === 'total' && m.unit === 'bytes',
        (m) => m.kind === 'level' || m.kind === 'total',
      ),
      blocks: first(
        (m) => m.key.endsWith('.live_blocks'),
        (m) => m.kind === 'level' && m.unit === 'count',
      ),
      change: first(
        (m) => m.kind === 'change' && m.unit === 'bytes',
        (m) => m.kind === 'rate' && m.unit.startsWith('bytes'),
      ),
      oldest: find((m) => m.kind === 'age'),
    };
  }

  /** History of one kind: for each measure that has one, the decoded lists. */
  function historyOf(entries) {
    return new Map((entries || []).map((entry) => [entry.measure, entry.values.map(undelta)]));
  }

  function some(lists) {
    return Boolean(lists) && lists.some((list) => list && list.length > 0);
  }

  /** Everything of one source: its samples, its measures, and what can be shown of it. */
  function sourceOf(raw, index, samplesHistory) {
    const source = raw.sources[index];
    const samples = [];
    raw.samples.source.forEach((of, sample) => of === index && samples.push(sample));
    const roles = rolesOf(raw.measures, source.key);
    const history = samplesHistory.get(roles.primary) ?? null;
    const has = (column) => Boolean(column) && samples.some((sample) => column[sample]);
    return {
      ...source,
      index,
      samples,
      roles,
      // One point has no growth.
      history:
        raw.history?.at_ms.length > 1 && history && samples.some((sample) => history[sample]?.length) ? history : null,
      columns: raw.measures.flatMap((m, at) => (m.source === source.key && has(raw.samples.values[at]) ? [at] : [])),
      hasAges: some(samples.map((sample) => raw.samples.ages?.[sample])),
      hasFreed: some(samples.map((sample) => raw.samples.freed?.[sample])),
    };
  }

  /** The model of the page: what the JSON says, with the tables that every part needs. */
  function model(raw) {
    const samplesHistory = historyOf(raw.history?.samples);
    const built = {
      raw,
      strings: raw.strings,
      functions: functionsOf(raw.frames),
      parent: Int32Array.from(raw.nodes.parent),
      frame: Int32Array.from(raw.nodes.frame),
      fold: Int32Array.from(raw.nodes.fold),
      node: Int32Array.from(raw.samples.node),
      at: raw.history ? raw.history.at_ms : [],
      subjectsHistory: historyOf(raw.history?.subjects),
    };
    built.sources = raw.sources.map((_, index) => sourceOf(raw, index, samplesHistory));
    return built;
  }

  function text(data, index) {
    return index >= 0 ? data.strings[index] : '';
  }

  /** Nodes of a sample's stack, innermost first. */
  function stackOf(data, sample) {
    const nodes = [];
    for (let node = data.node[sample]; node >= 0; node = data.parent[node]) nodes.push(node);
    return nodes;
  }

  /** The lines of a stack, innermost first: neighbors with the same fold are one line. */
  function linesOf(data, sample) {
    const lines = [];
    for (const node of stackOf(data, sample)) {
      const last = lines[lines.length - 1];
      const fold = data.fold[node];
      if (last && fold >= 0 && last.fold === fold) last.nodes.push(node);
      else lines.push({ fold, nodes: [node] });
    }
    return lines;
  }

  /** "(4 frames of alloc::vec)": what stands for a run of folded frames. */
  function foldText(data, fold, least, most = least) {
    const number = least === most ? `${most} ${most === 1 ? 'frame' : 'frames'}` : `${least} to ${most} frames`;
    return `(${number} of ${text(data, fold)})`;
  }

  /** Module and position of a frame: "libc.so.6 malloc.c:3294". */
  function placeOf(data, frame) {
    const { file, line, module } = data.raw.frames;
    const position = text(data, file[frame]) + (line[frame] > 0 ? `:${line[frame]}` : '');
    return { module: text(data, module[frame]), position: file[frame] >= 0 ? position : '' };
  }

  function frameName(data, frame) {
    return text(data, data.raw.frames.name[frame]) || '(unknown)';
  }

  /** What a sample is called without a stack: the kind of its memory. */
  function labelOf(data, sample) {
    return text(data, data.raw.samples.label[sample]);
  }

  /** The function that wants the memory: as the data names it, or the first one beyond the folded frames. */
  function wantedBy(data, sample) {
    const caller = data.raw.samples.caller?.[sample] ?? -1;
    if (caller >= 0) return text(data, caller);
    const nodes = stackOf(data, sample);
    const node = nodes.find((candidate) => data.fold[candidate] < 0) ?? nodes[0];
    if (node !== undefined) return frameName(data, data.frame[node]);
    return labelOf(data, sample) || '(no stack)';
  }

  function subjectName(data, subject) {
    const { name, pid } = data.raw.subjects[subject] ?? { name: '' };
    return pid === null || pid === undefined ? name : `${name} (${pid})`;
  }

  memlens.data = {
    read,
    undelta,
    model,
    text,
    stackOf,
    linesOf,
    foldText,
    placeOf,
    frameName,
    labelOf,
    wantedBy,
    subjectName,
  };
})((globalThis.memlens ??= {}));
