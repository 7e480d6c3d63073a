// Time series by uPlot: processes and the largest stacks; a dragged interval is the interval of the growth.
(function (memlens) {
  'use strict';
  const { format, data, dom, colors, describe } = memlens;
  const { el } = dom;

  const LINES = 10;
  const HEIGHT = 200;
  const PAPER = 700;
  const SECONDS = [
    0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400,
  ];
  // Axis labels of sizes are whole numbers of a unit if the steps are powers of two.
  const SIZES = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);

  /** What can be shown over time: each measure of the processes, and the stacks of the source. */
  function choicesOf(model, source) {
    const processes = [...model.subjectsHistory.keys()].map((measure) => {
      const { name, source: key } = model.raw.measures[measure];
      return { id: `subjects:${measure}`, text: `processes: ${name}`, rank: key === source?.key ? 0 : 2 };
    });
    const stacks = source?.history
      ? [
          { id: 'largest', text: 'largest stacks', rank: 1 },
          { id: 'growing', text: 'fastest growing stacks', rank: 1 },
        ]
      : [];
    return [...processes, ...stacks].sort((a, b) => a.rank - b.rank);
  }

  function timeTick(seconds) {
    return seconds === 0
      ? '0'
      : format
          .duration(seconds * 1000)
          .replace(/\.0s$/, 's')
          .replace(/ 0[ms]$/, '');
  }

  function lastOf(list) {
    return list.findLast((value) => value !== null) ?? 0;
  }

  function changeOf(list, [begin, end]) {
    return (list[end] ?? 0) - (list[begin] ?? 0);
  }

  /** The lines of a choice: at most ten, by their last value or by their change in the interval. */
  function linesOf(model, view, choice) {
    const source = model.sources[view.source];
    const byLast = (a, b) => lastOf(b.values) - lastOf(a.values);
    const byChange = (a, b) => changeOf(b.values, view.interval) - changeOf(a.values, view.interval);
    if (choice.startsWith('subjects:')) {
      const measure = Number(choice.slice(choice.indexOf(':') + 1));
      const lines = model.subjectsHistory.get(measure).map((values, subject) => ({
        id: `p${subject}`,
        name: data.subjectName(model, subject),
        values,
        unit: model.raw.measures[measure].unit,
        subject,
      }));
      const wanted = lines.filter(
        (line) => line.values.length > 0 && (view.subject < 0 || line.subject === view.subject),
      );
      return wanted.sort(byLast).slice(0, LINES);
    }
    const { unit } = model.raw.measures[source.roles.primary];
    const lineOf = (sample) => ({
      id: `s${sample}`,
      name: data.wantedBy(model, sample),
      values: source.history[sample] ?? [],
      unit,
      sample,
    });
    const lines = memlens.values
      .samplesOf(model, source, view.subject)
      .map(lineOf)
      .filter((line) => line.values.length > 0);
    const shown = lines.sort(choice === 'growing' ? byChange : byLast).slice(0, LINES);
    if (view.selected >= 0 && !shown.some((line) => line.sample === view.selected)) {
      shown.push(...lines.filter((line) => line.sample === view.selected));
    }
    return shown;
  }

  class Series {
    /**
     * `elements`: chart, legend, choice, begin, end, words, reset.
     * `on.interval([begin, end])` is called for a new interval.
     */
    constructor(model, elements, on) {
      this.model = model;
      this.elements = elements;
      this.on = on;
      this.hidden = new Set();
      this.plot = null;
      this.view = null;
      const last = model.at.length - 1;
      for (const input of [elements.begin, elements.end]) {
        input.max = String(last);
        input.addEventListener('input', () => this.slide(input));
      }
      elements.choice.addEventListener('change', () => this.draw());
      elements.reset.addEventListener('click', () => on.interval([0, last]));
      new ResizeObserver(() => this.fit()).observe(elements.chart);
    }

    /** Offers the choices of a source, and shows the first that fits or the one that was chosen. */
    offer(view) {
      const choices = choicesOf(this.model, this.model.sources[view.source]);
      const { choice } = this.elements;
      const kept = choices.some(({ id }) => id === choice.value);
      dom.fillSelect(choice, choices, kept ? choice.value : choices[0]?.id);
      return choices.length > 0;
    }

    show(view) {
      this.view = view;
      this.elements.begin.value = String(view.interval[0]);
      this.elements.end.value = String(view.interval[1]);
      this.draw();
    }

    /** A selected stack is seen among the stacks, not among the processes. */
    focus(sample) {
      const { choice } = this.elements;
      const stacks = [...choice.options].some(({ value }) => value === 'largest');
      if (sample >= 0 && stacks && choice.value.startsWith('subjects:')) choice.value = 'largest';
    }

    slide(input) {
      const { begin, end } = this.elements;
      let interval = [Number(begin.value), Number(end.value)];
      // An interval has two ends: the other one gives way.
      if (interval[0] >= interval[1]) {
        const last = this.model.at.length - 1;
        const at = Number(input.value);
        interval =
          input === begin
            ? [Math.min(at, last - 1), Math.min(at, last - 1) + 1]
            : [Math.max(at, 1) - 1, Math.max(at, 1)];
      }
      this.on.interval(interval);
    }

    draw() {
      this.plot?.destroy();
      this.plot = null;
      this.showInterval();
      const choice = this.elements.choice.value;
      if (!choice) return;
      this.lines = linesOf(this.model, this.view, choice);
      const times = this.model.at.map((ms) => ms / 1000);
      this.plot = new uPlot(this.options(), [times, ...this.lines.map((line) => line.values)], this.elements.chart);
      this.showLegend();
    }

    options() {
      const style = getComputedStyle(document.documentElement);
      const color = (name) => style.getPropertyValue(`--${name}`).trim();
      const unit = this.lines[0]?.unit ?? 'bytes';
      const axis = {
        stroke: color('muted'),
        font: `11px ${color('sans')}`,
        ticks: { stroke: color('line'), width: 1, size: 4 },
        grid: { stroke: color('grid'), width: 1 },
      };
      return {
        width: this.width(),
        height: HEIGHT,
        padding: [8, 12, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, y: false, points: { size: 5 } },
        scales: {
          x: { time: false },
          y: { range: (_, low, high) => [Math.min(low ?? 0, 0), (high ?? 0) * 1.05 || 1] },
        },
        axes: [
          { ...axis, size: 26, gap: 3, incrs: SECONDS, values: (_, ticks) => ticks.map(timeTick) },
          {
            ...axis,
            size: 72,
            gap: 4,
            space: 34,
            incrs: unit.startsWith('bytes') ? SIZES : undefined,
            values: (_, ticks) => ticks.map((v) => format.value(v, unit)),
          },
        ],
        series: [{}, ...this.lines.map((line, index) => this.seriesOf(line, index))],
        hooks: {
          setSelect: [() => this.brushed()],
          setCursor: [(plot) => this.showValues(plot.cursor.idx)],
          // The scales are known only when it is drawn.
          draw: [() => this.showInterval()],
        },
      };
    }

    seriesOf(line, index) {
      const dark = document.documentElement.dataset.theme === 'dark';
      const chosen = line.sample !== undefined && line.sample === this.view.selected;
      return {
        stroke: colors.ofLine(index, dark),
        width: chosen ? 3 : 1.5,
        points: { show: false },
        // Half of the lines are dashed: the color is not all that tells them apart.
        dash: index >= LINES / 2 ? [5, 3] : undefined,
        show: !this.hidden.has(line.id),
      };
    }

    width() {
      return this.printing ? PAPER : Math.max(this.elements.chart.clientWidth, 240);
    }

    fit() {
      if (!this.plot || this.plot.width === this.width()) return;
      this.plot.setSize({ width: this.width(), height: HEIGHT });
    }

    // ---- the interval

    /** The dragged range, widened to the nearest points. */
    brushed() {
      const { left, width } = this.plot.select;
      if (width <= 0) return;
      const begin = this.plot.posToIdx(left);
      const end = this.plot.posToIdx(left + width);
      if (end > begin) this.on.interval([begin, end]);
      else this.showInterval();
    }

    showInterval() {
      const { model, view, plot } = this;
      const [begin, end] = view.interval;
      const whole = begin === 0 && end === model.at.length - 1;
      this.elements.reset.hidden = whole;
      const words = `Growth ${describe.intervalWords(model, view.interval)}`;
      this.elements.words.textContent = whole ? `${words}, the whole time` : words;
      for (const [input, point] of [
        [this.elements.begin, begin],
        [this.elements.end, end],
      ]) {
        input.setAttribute('aria-valuetext', format.duration(model.at[point]));
      }
      if (!plot || plot.scales.x.min === null) return;
      const left = plot.valToPos(model.at[begin] / 1000, 'x');
      const right = plot.valToPos(model.at[end] / 1000, 'x');
      plot.setSelect(
        { left, top: 0, width: whole ? 0 : right - left, height: whole ? 0 : plot.over.clientHeight },
        false,
      );
    }

    // ---- the legend

    showLegend() {
      this.legend = this.lines.map((line, index) => this.legendRow(line, index));
      const heading = (words) => el('span', { class: 'number' }, words);
      const head = el('div', { class: 'legend-head', 'aria-hidden': 'true' }, heading('value'), heading('growth'));
      this.elements.legend.replaceChildren(head, ...this.legend.map(({ button }) => button));
      this.showValues(null);
    }

    legendRow(line, index) {
      const dark = document.documentElement.dataset.theme === 'dark';
      const swatch = el('span', { class: index >= LINES / 2 ? 'swatch dashed' : 'swatch' });
      swatch.style.borderColor = colors.ofLine(index, dark);
      const value = el('span', { class: 'number' });
      const growth = format.change(changeOf(line.values, this.view.interval), line.unit);
      const button = el(
        'button',
        {
          type: 'button',
          'aria-pressed': String(!this.hidden.has(line.id)),
          title: 'Show or hide this line',
          onclick: () => this.toggle(line, index, button),
        },
        swatch,
        dom.nameOf(line.name, 120),
        value,
        el('span', { class: 'number growth' }, growth),
      );
      return { button, value };
    }

    toggle(line, index, button) {
      const show = this.hidden.delete(line.id);
      if (!show) this.hidden.add(line.id);
      button.setAttribute('aria-pressed', String(show));
      this.plot.setSeries(index + 1, { show });
    }

    /** Values at the pointer, or the last ones. */
    showValues(point) {
      (this.legend || []).forEach(({ value }, index) => {
        const { values, unit } = this.lines[index];
        const at = point === null || point === undefined ? lastOf(values) : values[point];
        value.textContent = at === null || at === undefined ? '-' : format.value(at, unit);
      });
    }
  }

  memlens.series = { Series, choicesOf, linesOf };
})((globalThis.memlens ??= {}));
