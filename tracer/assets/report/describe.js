// Boxes in words: for the tooltip, for screen readers and for the caption of the icicle.
(function (memlens) {
  'use strict';
  const { format, data, tree: views } = memlens;

  const LONGEST_NAME = 300;

  /** The value of a box in words. */
  function valueOf(tree, box, view) {
    const { unit } = view.measure;
    const share = `${format.share(tree.width[box], tree.total)}`;
    if (!view.diff) {
      const signed = ['growth', 'signed'].includes(view.measure.kind);
      const text = signed ? format.change(tree.width[box], unit) : format.value(tree.width[box], unit);
      return `${text}, ${share}`;
    }
    const before = format.value(tree.before[box], unit);
    const after = format.value(tree.after[box], unit);
    return `${format.change(tree.net[box], unit)} (${before} to ${after}), ${share} of all changes`;
  }

  function stateOf(tree, box, view) {
    if (!view.diff || tree.width[box] === 0) return '';
    if (tree.before[box] === 0) return 'new';
    return tree.after[box] === 0 ? 'gone' : '';
  }

  function ageOf(tree, box, view) {
    if (view.measure.kind !== 'age' || view.diff) return '';
    if (!(tree.aged[box] > 0)) return 'age not known';
    return `mean age ${format.duration(tree.age[box] / tree.aged[box])}`;
  }

  /** Name, place and value of a box. */
  function box(model, tree, index, view) {
    const { frame, fold, most, mixed } = tree.boxes;
    const lines = { name: format.name(views.boxText(model, tree, index), LONGEST_NAME), place: '' };
    if (frame[index] >= 0 && !(fold[index] >= 0 && most[index] > 1)) {
      const { module, position } = data.placeOf(model, frame[index]);
      const where = mixed[index] ? 'several lines' : position;
      lines.place = [format.name(module, 120), format.name(where, 160)].filter(Boolean).join(' ');
    }
    lines.value = valueOf(tree, index, view);
    lines.extra = [ageOf(tree, index, view), stateOf(tree, index, view)].filter(Boolean).join(', ');
    return lines;
  }

  function words(lines) {
    return [lines.name, lines.value, lines.extra, lines.place].filter(Boolean).join(', ');
  }

  function capital(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
  }

  function intervalWords(model, interval) {
    const [begin, end] = interval.map((point) => model.at[point]);
    const first = begin === 0 ? '0s' : format.duration(begin);
    return `from ${first} to ${format.duration(end)} (${format.duration(end - begin)})`;
  }

  /** What the icicle shows, in one line. */
  function caption(model, tree, view, whole) {
    const { measure } = view;
    const stacks = format.counted(tree.samples.length, 'stack');
    const growth = measure.kind === 'growth' || view.diff;
    const over =
      growth && model.sources[view.source].history && !(view.diff && model.raw.samples.before)
        ? ` ${intervalWords(model, view.interval)}`
        : '';
    if (view.diff) {
      const more = (tree.total + tree.net[0]) / 2;
      const less = more - tree.total;
      return (
        `Difference of ${measure.name}${over}: ${format.change(tree.net[0], measure.unit)}; ` +
        `${format.change(more, measure.unit)} (red) and ${format.change(less, measure.unit)} (blue) in ${stacks}`
      );
    }
    const total = format.value(tree.total, measure.unit);
    if (growth || measure.kind === 'signed') {
      const less =
        tree.shrunk < 0 ? `; ${format.change(tree.shrunk, measure.unit)} in stacks that shrank is not drawn` : '';
      return `${capital(measure.name)}${over}: +${total} in ${stacks}${less}`;
    }
    if (measure.kind === 'older') return `Bytes older than ${format.ageLimit(view.exponent)}: ${total} in ${stacks}`;
    const of =
      whole > tree.total ? ` (${format.share(tree.total, whole)} of ${format.value(whole, measure.unit)})` : '';
    if (measure.kind === 'age')
      return `Live bytes: ${total} in ${stacks}${of}. Color: mean age; pale is young, deep is old`;
    return `${capital(measure.name)}: ${total} in ${stacks}${of}`;
  }

  memlens.describe = { box, words, caption, intervalWords };
})((globalThis.memlens ??= {}));
