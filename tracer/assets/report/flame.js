// The icicle on a canvas: which boxes are wide enough, drawing, pointer and keyboard, zoom.
(function (memlens) {
  'use strict';
  const { format, tree: views, colors } = memlens;

  const ROW = 18;
  const FONT_SIZE = 11.5;
  const NARROWEST = 0.5;
  const LEAST_SHARE = 0.002;
  const SHARE_OF_WINDOW = 0.72;
  const HIGHEST = 900;
  const BORDERS = 2;
  const PADDING = 4;
  const LONGEST_LABEL = 400;
  const PRINT = { width: 720, rows: 44, scale: 2 };

  /** Boxes of a zoomed tree that are wide enough to be drawn: index, left edge and width in pixels. */
  class Visible {
    constructor() {
      this.box = new Int32Array(1024);
      this.left = new Float32Array(1024);
      this.width = new Float32Array(1024);
      this.length = 0;
    }

    push(box, left, width) {
      if (this.length === this.box.length) this.grow();
      this.box[this.length] = box;
      this.left[this.length] = left;
      this.width[this.length++] = width;
    }

    grow() {
      for (const key of ['box', 'left', 'width']) {
        const larger = new this[key].constructor(this[key].length * 2);
        larger.set(this[key]);
        this[key] = larger;
      }
    }
  }

  /** Collects what is visible: a box below the narrowest width hides all that is under it. */
  function collect(tree, zoom, pixels, visible) {
    visible.length = 0;
    if (!(tree.total > 0) || !(tree.width[zoom] > 0)) return 0;
    const { first, children, left, width, depth } = tree;
    const scale = pixels / width[zoom];
    const origin = left[zoom];
    const stack = [0];
    let deepest = 0;
    while (stack.length > 0) {
      const box = stack.pop();
      const from = Math.max((left[box] - origin) * scale, 0);
      const to = Math.min((left[box] + width[box] - origin) * scale, pixels);
      visible.push(box, from, to - from);
      if (depth[box] > deepest) deepest = depth[box];
      for (let index = first[box]; index < first[box + 1]; index++) {
        const child = children[index];
        // The children are sorted by width: the rest is narrower still.
        if (width[child] * scale < NARROWEST) break;
        const start = (left[child] - origin) * scale;
        if (start < pixels - 0.01 && start + width[child] * scale > 0.01) stack.push(child);
      }
    }
    return deepest + 1;
  }

  class Flame {
    /** `on` has the functions select(box), zoom(box), hover(box, event). */
    constructor(model, elements, on) {
      this.model = model;
      this.canvas = elements.canvas;
      this.scroller = elements.scroller;
      this.space = elements.space;
      this.on = on;
      this.context = this.canvas.getContext('2d', { alpha: false });
      this.visible = new Visible();
      this.tree = null;
      this.zoomed = 0;
      this.selected = -1;
      this.hovered = -1;
      this.matching = null;
      this.rows = 1;
      this.printing = false;
      this.pending = 0;
      this.listen();
    }

    listen() {
      const { canvas, scroller } = this;
      canvas.addEventListener('mousemove', (event) => this.hover(event));
      canvas.addEventListener('mouseleave', (event) => this.leave(event));
      canvas.addEventListener('click', (event) => this.click(event));
      canvas.addEventListener('keydown', (event) => this.key(event));
      scroller.addEventListener('scroll', () => this.redraw());
      new ResizeObserver(() => this.resize()).observe(scroller);
    }

    // ---- what is shown

    /** Shows another tree. `mode` is what the color says: "name", "change" or "age". */
    show(tree, mode) {
      this.tree = tree;
      this.mode = mode;
      this.zoomed = 0;
      this.selected = -1;
      this.hovered = -1;
      this.labels = new Array(tree.size);
      this.setAges();
      this.recolor();
    }

    /** The scale of ages: from the youngest to the oldest mean age of the boxes that are wide enough to matter. */
    setAges() {
      this.ages = [Infinity, 0];
      if (this.mode !== 'age') return;
      const { tree } = this;
      for (let box = 1; box < tree.size; box++) {
        const age = tree.width[box] >= tree.total * LEAST_SHARE ? this.meanAge(box) : null;
        if (age !== null) this.ages = [Math.min(this.ages[0], age), Math.max(this.ages[1], age)];
      }
    }

    /** Position of an age on the scale, from 0 to 1, by its logarithm. */
    agePart(age) {
      const [youngest, oldest] = this.ages.map(Math.log1p);
      return oldest > youngest ? (Math.log1p(age) - youngest) / (oldest - youngest) : 0.5;
    }

    meanAge(box) {
      return this.tree.aged[box] > 0 ? this.tree.age[box] / this.tree.aged[box] : null;
    }

    /** Reads the theme again; the colors of the boxes are made when they are first drawn. */
    recolor() {
      const style = getComputedStyle(document.documentElement);
      const read = (name) => style.getPropertyValue(name).trim();
      this.dark = !this.printing && document.documentElement.dataset.theme === 'dark';
      this.theme = Object.fromEntries(
        ['bg', 'box', 'box-text', 'box-dim', 'box-dim-text', 'box-match', 'box-match-text', 'accent', 'fg'].map(
          (name) => [name, read(`--${name}`)],
        ),
      );
      this.font = `${FONT_SIZE}px ${read('--mono')}`;
      this.context.font = this.font;
      this.character = this.context.measureText('0'.repeat(64)).width / 64;
      this.fills = new Array(this.tree?.size ?? 0);
      this.resize();
    }

    setMatching(matching) {
      this.matching = matching;
      this.redraw();
    }

    zoom(box) {
      this.zoomed = box;
      this.resize();
      this.reveal(box);
      this.on.zoom(box);
    }

    select(box) {
      this.mark(box, true);
      this.on.select(box);
    }

    /** Selects without telling: the page did it. */
    mark(box, reveal) {
      this.selected = box;
      if (box >= 0 && reveal) this.reveal(box);
      this.redraw();
    }

    /** Scrolls so that a box is seen, with two rows around it. */
    reveal(box) {
      const top = (this.tree.depth[box] - 2) * ROW;
      const bottom = (this.tree.depth[box] + 3) * ROW;
      const { scrollTop, clientHeight } = this.scroller;
      if (top < scrollTop) this.scroller.scrollTop = Math.max(top, 0);
      else if (bottom > scrollTop + clientHeight) this.scroller.scrollTop = bottom - clientHeight;
    }

    // ---- size and drawing

    /** Collects the visible boxes again, and fits the canvas to them. */
    resize() {
      if (!this.tree) return;
      this.collect();
      // The new height may have made a scroll bar come or go.
      if (!this.printing && this.scroller.clientWidth !== this.pixels) this.collect();
      this.draw();
    }

    collect() {
      this.pixels = this.printing ? PRINT.width : this.scroller.clientWidth;
      this.rows = Math.max(collect(this.tree, this.zoomed, this.pixels, this.visible), 1);
      this.fit();
    }

    fit() {
      const { canvas, printing } = this;
      const whole = this.rows * ROW;
      // Computed, not read back from the style: reading would lay out the page once more.
      this.height = Math.round(
        Math.min(whole, printing ? PRINT.rows * ROW : Math.min(window.innerHeight * SHARE_OF_WINDOW, HIGHEST)),
      );
      this.space.style.height = printing ? 'auto' : `${whole}px`;
      this.scroller.style.height = printing ? 'auto' : `${this.height + BORDERS}px`;
      this.scale = printing ? PRINT.scale : window.devicePixelRatio || 1;
      canvas.width = Math.max(Math.round(this.pixels * this.scale), 1);
      canvas.height = Math.max(Math.round(this.height * this.scale), 1);
      canvas.style.width = printing ? '100%' : `${this.pixels}px`;
      canvas.style.height = printing ? 'auto' : `${this.height}px`;
    }

    /** Draws with the next frame of the screen, once for all changes until then. */
    redraw() {
      if (this.pending) return;
      this.pending = requestAnimationFrame(() => {
        this.pending = 0;
        this.draw();
      });
    }

    draw() {
      if (!this.tree) return;
      const start = performance.now();
      const { context, visible, tree } = this;
      const scrolled = this.printing ? 0 : this.scroller.scrollTop;
      context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
      context.fillStyle = this.theme.bg;
      context.fillRect(0, 0, this.pixels, this.height);
      context.font = this.font;
      context.textBaseline = 'middle';
      context.direction = 'ltr';
      for (let at = 0; at < visible.length; at++) {
        const top = tree.depth[visible.box[at]] * ROW - scrolled;
        if (top > -ROW && top < this.height) this.drawBox(at, top);
      }
      this.drawOutlines(scrolled);
      memlens.stats.draw_ms = performance.now() - start;
      memlens.stats.drawn_boxes = visible.length;
    }

    drawBox(at, top) {
      const { context, visible } = this;
      const box = visible.box[at];
      const left = visible.left[at];
      const width = visible.width[at];
      context.fillStyle = this.fill(box);
      // A gap between boxes, as far as there is room for one.
      context.fillRect(left, top, Math.max(width - (width > 3 ? 1 : 0), NARROWEST), ROW - 1);
      const room = Math.floor((width - 2 * PADDING) / this.character);
      if (room < 2) return;
      const { text, plain } = this.label(box);
      const shown = text.length <= room ? text : `${text.slice(0, room - 1)}\u2026`;
      context.fillStyle = this.textColor(box);
      // Characters outside of ASCII may be wider than the font's: then the canvas makes them fit.
      if (plain) context.fillText(shown, left + PADDING, top + ROW / 2);
      else context.fillText(shown, left + PADDING, top + ROW / 2, width - 2 * PADDING);
    }

    label(box) {
      let label = this.labels[box];
      if (!label) {
        const text = format.name(box === 0 ? this.rootText : views.boxText(this.model, this.tree, box), LONGEST_LABEL);
        label = this.labels[box] = { text, plain: /^[ -~\u2026]*$/.test(text) };
      }
      return label;
    }

    fill(box) {
      if (this.matching && box > 0) return this.matching[box] ? this.theme['box-match'] : this.theme['box-dim'];
      return (this.fills[box] ??= this.ownFill(box));
    }

    ownFill(box) {
      const { tree, dark } = this;
      if (box === 0) return this.theme.box;
      if (this.mode === 'change') return colors.ofChange(tree.net[box] / tree.width[box], dark);
      if (this.mode === 'age') {
        const age = this.meanAge(box);
        return age === null ? this.theme.box : colors.ofAge(this.agePart(age), dark);
      }
      const { fold, label, most } = tree.boxes;
      if (label[box] !== null || (fold[box] >= 0 && most[box] > 1)) return this.theme.box;
      return colors.ofName(views.boxText(this.model, tree, box), dark);
    }

    textColor(box) {
      if (!this.matching || box === 0) return this.theme['box-text'];
      return this.matching[box] ? this.theme['box-match-text'] : this.theme['box-dim-text'];
    }

    /** Outlines of the box under the pointer, of the selected one, and of those above it. */
    drawOutlines(scrolled) {
      const path = new Set();
      for (let box = this.selected; box > 0; box = this.tree.parent[box]) path.add(box);
      const { visible, context } = this;
      for (let at = 0; at < visible.length; at++) {
        const box = visible.box[at];
        if (!path.has(box) && box !== this.hovered) continue;
        const thick = box === this.selected ? 2 : 1;
        context.strokeStyle = box === this.hovered ? this.theme.fg : this.theme.accent;
        context.lineWidth = thick;
        const top = this.tree.depth[box] * ROW - scrolled;
        const width = Math.max(visible.width[at] - thick - (visible.width[at] > 3 ? 1 : 0), 1);
        context.strokeRect(visible.left[at] + thick / 2, top + thick / 2, width, ROW - 1 - thick);
      }
    }

    /** For paper: white, all rows that fit a page, no scrolling. */
    setPrinting(printing) {
      this.printing = printing;
      this.recolor();
    }

    // ---- pointer and keyboard

    /** The box at a position of the canvas in CSS pixels, or -1. */
    hit(x, y) {
      const row = Math.floor((y + this.scroller.scrollTop) / ROW);
      const { visible, tree } = this;
      for (let at = 0; at < visible.length; at++) {
        const left = visible.left[at];
        if (tree.depth[visible.box[at]] === row && x >= left && x < left + visible.width[at]) return visible.box[at];
      }
      return -1;
    }

    /** The middle of a box in CSS pixels of the canvas, or null where it is not drawn. */
    center(box) {
      const at = this.visible.box.subarray(0, this.visible.length).indexOf(box);
      if (at < 0) return null;
      const y = (this.tree.depth[box] + 0.5) * ROW - this.scroller.scrollTop;
      return { x: this.visible.left[at] + this.visible.width[at] / 2, y };
    }

    hover(event) {
      const box = this.tree ? this.hit(event.offsetX, event.offsetY) : -1;
      if (box !== this.hovered) {
        this.hovered = box;
        this.redraw();
      }
      this.canvas.classList.toggle('over-box', box >= 0);
      this.on.hover(box, event);
    }

    leave(event) {
      this.hovered = -1;
      this.redraw();
      this.on.hover(-1, event);
    }

    click(event) {
      const box = this.hit(event.offsetX, event.offsetY);
      if (box < 0) return;
      this.select(box);
      this.zoom(box);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const from = this.selected < 0 ? this.zoomed : this.selected;
      if (event.key === 'Enter') {
        this.zoom(from);
      } else {
        const to = this.selected < 0 ? from : this.neighbor(from, event.key);
        if (to === null || !event.key.startsWith('Arrow')) return;
        this.select(to);
      }
      event.preventDefault();
    }

    /** Parent, widest child or sibling of a box; itself where there is none; null for other keys. */
    neighbor(box, key) {
      const { parent, first, children } = this.tree;
      if (key === 'ArrowUp') return box > 0 ? parent[box] : box;
      if (key === 'ArrowDown') return first[box] < first[box + 1] ? children[first[box]] : box;
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (!step) return null;
      if (box === 0) return box;
      const above = parent[box];
      const siblings = children.subarray(first[above], first[above + 1]);
      return siblings[siblings.indexOf(box) + step] ?? box;
    }
  }

  memlens.flame = { Flame, Visible, collect, ROW };
})((globalThis.memlens ??= {}));
