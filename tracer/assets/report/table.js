// The table of stacks: sorting, the first hundred rows, a row that opens the whole stack, and the list for paper.
(function (memlens) {
  'use strict';
  const { format, data, dom, stack, header, values } = memlens;
  const { el, nameOf } = dom;

  const FIRST_ROWS = 100;
  const PRINTED_STACKS = 50;

  /** Kind of the first finding of each sample. */
  function verdictsOf(raw) {
    const verdicts = new Map();
    for (const { sample, kind } of raw.findings) if (sample >= 0 && !verdicts.has(sample)) verdicts.set(sample, kind);
    return verdicts;
  }

  /** The columns that a source has: key, heading, value of a sample, and its text where it is a number. */
  function columnsOf(model, view, verdicts) {
    const source = model.sources[view.source];
    const { measures, samples } = model.raw;
    const { primary, blocks, change, oldest } = source.roles;
    const columns = [];
    const add = (key, title, value, text) => columns.push({ key, title, value, text });
    const addMeasure = (key, title, index, print = format.value) => {
      if (index < 0) return;
      add(
        key,
        title,
        (sample) => samples.values[index][sample],
        (value) => print(value, measures[index].unit),
      );
    };
    const subjectsOf = values.samplesOf(model, source, view.subject);
    const total = primary < 0 ? 0 : subjectsOf.reduce((sum, sample) => sum + (samples.values[primary][sample] ?? 0), 0);
    addMeasure('live', measures[primary]?.name.replace(' bytes', '') ?? 'live', primary);
    addMeasure('blocks', 'blocks', blocks);
    if (primary >= 0 && (source.history || samples.before)) {
      add('growth', 'growth', values.growthOf(model, source, view.interval), (value) =>
        format.change(value, measures[primary].unit),
      );
    } else addMeasure('growth', measures[change]?.name, change, format.change);
    if (primary >= 0)
      add(
        'share',
        'share',
        (sample) => samples.values[primary][sample] ?? 0,
        (value) => format.share(value, total),
      );
    addMeasure('oldest', 'oldest', oldest);
    add('course', 'course', (sample) => verdicts.get(sample) ?? data.text(model, samples.course[sample]));
    add('process', 'process', (sample) => data.subjectName(model, samples.subject[sample]));
    add('function', 'function', (sample) => data.wantedBy(model, sample));
    return columns;
  }

  function arrow(sorted, descending) {
    return el('span', { class: 'arrow', 'aria-hidden': 'true' }, sorted ? (descending ? '\u25be' : '\u25b4') : '');
  }

  /** Numbers from the largest, names by the alphabet. */
  function compare(a, b) {
    return typeof a === 'number' ? b - a : a < b ? -1 : a > b ? 1 : 0;
  }

  class StackTable {
    /** `elements`: head, body, more, caption, printed. `on.select(sample)` is called when a row is opened. */
    constructor(model, elements, on) {
      this.model = model;
      this.elements = elements;
      this.on = on;
      this.verdicts = verdictsOf(model.raw);
      this.sort = { key: 'live', reversed: false };
      this.all = false;
      this.open = new Set();
      elements.more.addEventListener('click', () => {
        this.all = true;
        this.draw();
      });
      elements.body.addEventListener('keydown', (event) => this.key(event));
    }

    /** Shows some samples in a view: {source, subject, interval, fold, selected}. */
    show(view, samples, caption) {
      this.view = view;
      this.samples = samples;
      this.elements.caption.textContent = caption;
      this.draw();
    }

    draw() {
      this.columns = columnsOf(this.model, this.view, this.verdicts);
      if (!this.columns.some(({ key }) => key === this.sort.key))
        this.sort = { key: this.columns[0].key, reversed: false };
      this.drawHead();
      this.sorted = this.order();
      let shown = this.all ? this.sorted : this.sorted.slice(0, FIRST_ROWS);
      const { selected } = this.view;
      if (selected >= 0 && !shown.includes(selected) && this.sorted.includes(selected)) shown = [selected, ...shown];
      this.elements.body.replaceChildren(...shown.flatMap((sample, index) => this.rows(sample, index)));
      this.elements.more.hidden = shown.length >= this.sorted.length;
      this.elements.more.textContent = `Show all ${format.counted(this.sorted.length, 'stack')}`;
    }

    order() {
      const { value } = this.columns.find(({ key }) => key === this.sort.key);
      const direction = this.sort.reversed ? -1 : 1;
      const keys = new Map(this.samples.map((sample) => [sample, value(sample)]));
      // What is not known comes last in both directions.
      const unknown = (sample) => Number(keys.get(sample) === null);
      return [...this.samples].sort(
        (a, b) => unknown(a) - unknown(b) || direction * compare(keys.get(a), keys.get(b)) || a - b,
      );
    }

    drawHead() {
      const cells = this.columns.map(({ key, title, text }) => {
        const sorted = this.sort.key === key;
        // Numbers start with the largest, names with the first of the alphabet.
        const descending = Boolean(text) !== this.sort.reversed;
        return el(
          'th',
          {
            scope: 'col',
            class: `${text ? 'number' : ''} col-${key}`,
            'aria-sort': sorted ? (descending ? 'descending' : 'ascending') : null,
          },
          el(
            'button',
            { type: 'button', 'data-key': key, onclick: () => this.sortBy(key) },
            // Before the heading of numbers, so that the heading ends where the numbers end.
            text ? arrow(sorted, descending) : '',
            title,
            text ? '' : arrow(sorted, descending),
          ),
        );
      });
      const focused = document.activeElement?.dataset?.key;
      this.elements.head.replaceChildren(el('tr', {}, ...cells));
      if (focused) this.elements.head.querySelector(`[data-key="${focused}"]`)?.focus();
    }

    sortBy(key) {
      this.sort = { key, reversed: this.sort.key === key && !this.sort.reversed };
      this.draw();
    }

    // ---- rows

    rows(sample, index) {
      const isOpen = this.open.has(sample);
      const chosen = sample === this.view.selected;
      const row = el(
        'tr',
        { class: chosen ? 'row selected' : 'row', 'data-sample': sample, onclick: () => this.toggle(sample) },
        ...this.columns.map((column) => this.cell(column, sample, index === 0, isOpen)),
      );
      return isOpen ? [row, this.detail(sample)] : [row];
    }

    cell({ key, value, text }, sample, isFirst, isOpen) {
      const of = value(sample);
      if (text) return el('td', { class: `number col-${key}` }, text(of));
      if (key === 'course') return el('td', { class: 'col-course' }, of ? header.chip(of) : '');
      if (key === 'process') {
        const others = this.model.raw.samples.others[sample];
        return el('td', { class: 'col-process' }, nameOf(of, 32), others > 0 ? ` +${others}` : '');
      }
      return el(
        'td',
        { class: 'col-function' },
        // One stop for the Tab key; the arrow keys move between the rows.
        el(
          'button',
          { type: 'button', class: 'link', 'aria-expanded': String(isOpen), tabindex: isFirst ? '0' : '-1' },
          nameOf(of, 160),
        ),
      );
    }

    detail(sample) {
      const copy = dom.copyButton(() => this.textOf(sample), 'Copy stack');
      return el(
        'tr',
        { class: 'detail' },
        el(
          'td',
          { colspan: this.columns.length },
          el('div', { class: 'detail-head' }, copy, ...stack.remarks(this.model, sample)),
          stack.frameList(this.model, sample, this.view.fold),
        ),
      );
    }

    /** A stack as text, with the figures of its row in front. */
    textOf(sample) {
      const figures = this.columns
        .filter(({ text, key }) => text && key !== 'share')
        .map(({ title, value, text }) => [title, text(value(sample))])
        .filter(([, figure]) => figure)
        .map((pair) => pair.join(' '));
      const process = format.name(data.subjectName(this.model, this.model.raw.samples.subject[sample]), 80);
      return stack.asText(this.model, sample, `${process}: ${figures.join(', ')}`);
    }

    toggle(sample) {
      const opened = !this.open.delete(sample);
      if (opened) this.open.add(sample);
      const focused = document.activeElement?.closest?.('tr')?.dataset.sample;
      this.on.select(opened ? sample : -1);
      if (focused !== undefined) this.rowOf(Number(focused))?.querySelector('button').focus();
    }

    rowOf(sample) {
      return this.elements.body.querySelector(`tr.row[data-sample="${sample}"]`);
    }

    key(event) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const row = event.target.closest('tr.row');
      if (!step || !row) return;
      const rows = [...this.elements.body.querySelectorAll('tr.row')];
      rows[rows.indexOf(row) + step]?.querySelector('button').focus();
      event.preventDefault();
    }

    // ---- paper

    /** The first stacks with their frames, for paper only. */
    print() {
      const items = this.sorted
        .slice(0, PRINTED_STACKS)
        .map((sample) =>
          el(
            'section',
            { class: 'printed-stack' },
            el('h3', {}, this.textOf(sample).split('\n', 1)[0]),
            ...stack.remarks(this.model, sample),
            stack.frameList(this.model, sample, true),
          ),
        );
      this.elements.printed.replaceChildren(...items);
    }

    clearPrint() {
      this.elements.printed.replaceChildren();
    }
  }

  memlens.table = { StackTable, columnsOf, verdictsOf };
})((globalThis.memlens ??= {}));
