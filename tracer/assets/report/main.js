// The page: its state, what is computed again when the state changes, controls and keys.
(function (memlens) {
  'use strict';
  const { format, data, dom, values, tree: views, search, describe } = memlens;
  const { byId } = dom;

  class Page {
    constructor(raw) {
      this.model = data.model(raw);
      const last = Math.max(this.model.at.length - 1, 0);
      this.state = {
        source: this.usable()[0]?.index ?? -1,
        subject: -1,
        measure: null,
        exponent: 10,
        interval: [0, last],
        diff: Boolean(raw.samples.before),
        fold: true,
        inverted: false,
        search: '',
        selected: -1,
      };
      this.found = null;
      this.makeParts();
      this.listen();
    }

    /** Width of the paper in CSS pixels, A4 or Letter with the margins of the print style; 0 on the screen. */
    get paper() {
      return this.printing ? 680 : 0;
    }

    /** Sources with stacks to show. */
    usable() {
      return this.model.sources.filter(
        (source) => source.samples.length > 0 && values.measuresOf(this.model, source).length > 0,
      );
    }

    get source() {
      return this.model.sources[this.state.source];
    }

    makeParts() {
      const { model } = this;
      this.flame = new memlens.flame.Flame(
        model,
        { canvas: byId('flame'), scroller: byId('flame-scroll'), space: byId('flame-space') },
        {
          select: (box) => this.boxSelected(box),
          zoom: () => this.zoomed(),
          hover: (box, event) => memlens.tooltip.show(this, box, event),
        },
      );
      this.table = new memlens.table.StackTable(
        model,
        {
          head: byId('stack-head'),
          body: byId('stack-body'),
          more: byId('more-stacks'),
          caption: byId('list-caption'),
          printed: byId('printed-stacks'),
        },
        { select: (sample) => this.selectSample(sample) },
      );
      if (model.at.length < 2) return;
      this.series = new memlens.series.Series(
        model,
        {
          chart: byId('series-chart'),
          legend: byId('series-legend'),
          choice: byId('series-choice'),
          begin: byId('interval-begin'),
          end: byId('interval-end'),
          words: byId('interval-words'),
          reset: byId('interval-reset'),
        },
        { interval: (interval) => this.setInterval(interval) },
      );
    }

    // ---- parts

    start() {
      const { raw } = this.model;
      memlens.header.showHeader(raw);
      memlens.header.showFindings(raw, (sample) => this.goTo(sample));
      this.showSeries();
      this.showLedger();
      for (const id of ['stacks', 'list', 'ages']) byId(id).hidden = !this.source;
      if (!this.source) return;
      dom.fillSelect(
        byId('source'),
        this.usable().map(({ index, name }) => ({ id: index, text: format.name(name, 60) })),
        this.state.source,
      );
      byId('source-label').hidden = this.usable().length < 2;
      this.offer();
      this.showTree();
      this.showLists();
    }

    /** Fills the selects of what the source has. */
    offer() {
      const { model, state, source } = this;
      const used = new Set(source.samples.map((sample) => model.raw.samples.subject[sample]));
      const subjects = [...used].sort((a, b) => a - b).map((id) => ({ id, text: this.subjectWords(id) }));
      if (!used.has(state.subject)) state.subject = -1;
      dom.fillSelect(byId('subject'), [{ id: -1, text: 'all processes' }, ...subjects], state.subject);
      byId('subject-label').hidden = subjects.length < 2;
      this.measures = values.measuresOf(model, source);
      const same = (measure) => measure.id === state.measure?.id || measure.name === state.measure?.name;
      state.measure = this.measures.find(same) ?? this.measures[0];
      dom.fillSelect(
        byId('measure'),
        this.measures.map(({ id, name }) => ({ id, text: name })),
        state.measure.id,
      );
      const exponents = values.exponentsOf(model, source);
      if (!exponents.includes(state.exponent)) state.exponent = exponents[0] ?? 10;
      dom.fillSelect(
        byId('exponent'),
        exponents.map((id) => ({ id, text: format.ageLimit(id) })),
        state.exponent,
      );
      state.diff = state.diff && this.differs(state.measure);
      byId('diff').disabled = !values.canDiffer(model, source);
    }

    subjectWords(subject) {
      const { place, state, verdict } = this.model.raw.subjects[subject] ?? {};
      const about = [place, state === 'running' ? '' : state, verdict].filter(Boolean).join(', ');
      return format.name(data.subjectName(this.model, subject) + (about ? `, ${about}` : ''), 80);
    }

    /** The state as the view that the tree is built from. */
    view() {
      return { ...this.state };
    }

    /** Ages and growth have no earlier moment; without an earlier profile only the measure of the history has one. */
    differs(measure) {
      if (measure.kind !== 'column' || !values.canDiffer(this.model, this.source)) return false;
      return Boolean(this.model.raw.samples.before) || measure.index === this.source.roles.primary;
    }

    showTree(keepZoom = false) {
      const { model, state, flame } = this;
      const path = keepZoom && flame.tree ? views.pathOf(model, flame.tree, flame.zoomed) : [];
      const view = this.view();
      const start = performance.now();
      const tree = views.build(model, view);
      memlens.stats.build_ms = performance.now() - start;
      const caption = describe.caption(model, tree, view, this.whole(view));
      const subject = state.subject < 0 ? '' : `, ${data.subjectName(model, state.subject)}`;
      const { unit } = view.measure;
      const total = view.diff ? format.change(tree.net[0], unit) : format.value(tree.total, unit);
      flame.rootText = `${this.source.name}${subject}: ${total}`;
      flame.matching = null;
      flame.show(tree, view.diff ? 'change' : view.measure.kind === 'age' ? 'age' : 'name');
      byId('caption').textContent = tree.total > 0 ? caption : `${caption}. Nothing to draw.`;
      if (path.length > 0) flame.zoom(views.follow(model, tree, path));
      this.markSelected(false);
      this.showMatches();
      this.showButtons();
    }

    /** The total that the processes report: it is more than the sum of the stacks where only the largest are here. */
    whole(view) {
      const { key } = this.model.raw.measures[view.measure.index] ?? {};
      const subjects = this.model.raw.subjects.filter((_, subject) => view.subject < 0 || view.subject === subject);
      return subjects.reduce((sum, { totals }) => sum + (totals?.[key] ?? 0), 0);
    }

    showButtons() {
      const { state } = this;
      for (const [id, on] of [
        ['invert', state.inverted],
        ['diff', state.diff],
        ['frames', !state.fold],
      ]) {
        byId(id).setAttribute('aria-pressed', String(on));
      }
      byId('exponent-label').hidden = state.measure.kind !== 'older' || state.diff;
      byId('zoom-reset').disabled = this.flame.zoomed === 0;
    }

    showLists() {
      memlens.lists.show(this);
    }

    showSeries() {
      const shown = this.series?.offer(this.state) ?? false;
      byId('series').hidden = !shown;
      if (shown) this.series.show(this.state);
    }

    showLedger() {
      const { ledger } = this.model.raw;
      byId('ledger').hidden = !ledger;
      if (!ledger) return;
      memlens.treemap.show(
        { map: byId('ledger-map'), body: byId('ledger-rows'), words: byId('ledger-words') },
        ledger,
        this.paper,
      );
    }

    // ---- selection and zoom

    /** Opens a stack that a finding is about, wherever it is. */
    goTo(sample) {
      const { samples } = this.model.raw;
      const { state } = this;
      if (samples.source[sample] !== state.source) {
        state.source = samples.source[sample];
        byId('source').value = String(state.source);
      }
      if (state.subject >= 0 && samples.subject[sample] !== state.subject) state.subject = -1;
      this.setSearch('');
      this.offer();
      this.table.open.add(sample);
      state.selected = sample;
      this.series?.focus(sample);
      this.showTree();
      this.markSelected(true);
      this.showLists();
      this.showSeries();
      byId('stacks').scrollIntoView({ block: 'nearest' });
    }

    selectSample(sample) {
      this.state.selected = sample;
      this.series?.focus(sample);
      this.markSelected(true);
      this.showLists();
      this.showSeries();
    }

    /** Marks the box of the selected stack. */
    markSelected(reveal) {
      const { state, flame } = this;
      const at = state.selected < 0 ? -1 : flame.tree.samples.indexOf(state.selected);
      const box = at < 0 ? -1 : flame.tree.boxOf[at];
      flame.mark(box, reveal);
      if (state.selected >= 0 && box < 0)
        byId('selected-words').textContent = 'The selected stack has nothing of this measure.';
      else this.sayBox(box);
    }

    boxSelected(box) {
      this.sayBox(box);
      const { tree } = this.flame;
      // Only the end of exactly one stack stands for that stack.
      const ends =
        tree.first[box] === tree.first[box + 1] ? tree.samples.filter((_, at) => tree.boxOf[at] === box) : [];
      const sample = ends.length === 1 ? ends[0] : -1;
      if (sample === this.state.selected) return;
      this.state.selected = sample;
      this.showLists();
      this.showSeries();
    }

    sayBox(box) {
      const words = box < 0 ? '\u00a0' : describe.words(describe.box(this.model, this.flame.tree, box, this.view()));
      byId('selected-words').textContent = words;
      if (box >= 0) dom.announce(words);
    }

    zoomed() {
      this.showButtons();
      this.showLists();
    }

    // ---- changes of the state

    set(changes, keepZoom = true) {
      Object.assign(this.state, changes);
      this.showTree(keepZoom);
      this.showLists();
    }

    setMeasure(id) {
      const measure = this.measures.find((candidate) => candidate.id === id);
      this.set({ measure, diff: this.state.diff && this.differs(measure) });
    }

    setSource(source) {
      Object.assign(this.state, { source, selected: -1 });
      this.offer();
      this.set({}, false);
      this.showSeries();
    }

    setInterval(interval) {
      const { state } = this;
      state.interval = interval;
      if (state.measure.kind === 'growth' || state.diff) this.showTree(true);
      this.showLists();
      this.series.show(state);
    }

    setSearch(text) {
      this.state.search = text;
      if (byId('search').value !== text) byId('search').value = text;
      const { test, error } = search.matcher(text);
      this.found = test ? search.matches(this.model, test) : null;
      byId('search').setAttribute('aria-invalid', String(Boolean(error)));
      this.searchError = error;
    }

    showMatches() {
      const { model, flame, found } = this;
      flame.setMatching(found ? search.matchingBoxes(model, flame.tree, found) : null);
      const words = byId('matched');
      words.classList.toggle('error', Boolean(this.searchError));
      if (this.searchError) words.textContent = `Not a regular expression: ${this.searchError}`;
      else if (!found) words.textContent = '';
      else {
        const width = search.matchedWidth(flame.tree, found);
        const { unit } = this.view().measure;
        words.textContent = `${format.share(width, flame.tree.total)} matched, ${format.value(width, unit)}`;
      }
    }

    toggleDiff() {
      if (!values.canDiffer(this.model, this.source)) {
        dom.announce('No difference: the data has one moment only.');
        return;
      }
      const diff = !this.state.diff;
      const primary = this.measures.find(
        (measure) => measure.kind === 'column' && measure.index === this.source.roles.primary,
      );
      const measure = diff && !this.differs(this.state.measure) ? primary : this.state.measure;
      byId('measure').value = measure.id;
      this.set({ diff, measure });
    }

    /** The search first, then the zoom, then the selection. */
    escape() {
      if (this.state.search) {
        this.setSearch('');
        this.showMatches();
        this.showLists();
      } else if (this.flame.zoomed > 0) this.flame.zoom(0);
      else if (this.state.selected >= 0 || this.flame.selected >= 0) {
        this.selectSample(-1);
      }
    }

    // ---- theme

    /** Draws everything again that has colors of its own. */
    recolor() {
      byId('theme').textContent = document.documentElement.dataset.theme === 'dark' ? 'Light' : 'Dark';
      this.flame.recolor();
      this.showSeries();
      this.showLedger();
    }

    listen() {
      memlens.controls.listen(this);
    }
  }

  async function start() {
    memlens.stats.started_ms = performance.now();
    memlens.controls.startTheme();
    try {
      const raw = await data.read(byId('data'));
      memlens.stats.decoded_ms = performance.now();
      // Hidden until now: large data takes a moment to unpack, and empty controls are of no use.
      byId('report').hidden = false;
      memlens.page = new Page(raw);
      memlens.page.start();
      memlens.stats.first_draw_ms = performance.now();
      document.documentElement.dataset.drawn = memlens.stats.first_draw_ms.toFixed(1);
    } catch (error) {
      const failure = byId('failure');
      failure.hidden = false;
      failure.textContent = `The data of this report cannot be shown: ${error.message}`;
      throw error;
    }
  }

  memlens.Page = Page;
  memlens.start = start;
  if (globalThis.document) start();
})((globalThis.memlens ??= {}));
