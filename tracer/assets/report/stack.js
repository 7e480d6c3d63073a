// One stack in full: its frames with folded runs, what holds its blocks, and the same as text to copy.
(function (memlens) {
  'use strict';
  const { format, data, dom } = memlens;
  const { el, nameOf } = dom;

  function frameLine(model, node) {
    const frame = model.frame[node];
    const { module, position } = data.placeOf(model, frame);
    const inlined = model.raw.frames.inlined[frame] ? ' (inlined)' : '';
    const place = [module, position].filter(Boolean).join(' ');
    const name = el('span', {}, nameOf(data.frameName(model, frame), 600), inlined);
    return el('li', {}, name, ' ', nameOf(place, 300, { class: 'place' }));
  }

  /** A run of folded frames as one line that opens. */
  function foldLine(model, { fold, nodes }, open) {
    const list = el('ol', { class: 'frames', hidden: !open }, ...nodes.map((node) => frameLine(model, node)));
    const button = el(
      'button',
      { type: 'button', class: 'link', 'aria-expanded': String(open) },
      format.name(data.foldText(model, fold, nodes.length), 200),
    );
    button.addEventListener('click', () => {
      list.hidden = !list.hidden;
      button.setAttribute('aria-expanded', String(!list.hidden));
    });
    return el('li', { class: 'fold' }, button, list);
  }

  /** The frames, innermost first. `folded`: runs with the same fold are one line. */
  function frameList(model, sample, folded) {
    const lines = data
      .linesOf(model, sample)
      .map((line) =>
        line.fold >= 0 && line.nodes.length > 1 && folded
          ? foldLine(model, line, false)
          : line.nodes.map((node) => frameLine(model, node)),
      );
    const list = el('ol', { class: 'frames' }, ...lines.flat());
    if (lines.length === 0) list.append(el('li', {}, data.labelOf(model, sample) || '(no stack)'));
    return list;
  }

  function remarks(model, sample) {
    const { cut, label, holders, others } = model.raw.samples;
    const items = (holders?.[sample] ?? []).map((holder) =>
      el('p', {}, 'Held by ', nameOf(data.text(model, holder), 1000)),
    );
    if (label[sample] >= 0)
      items.unshift(el('p', {}, 'Kind of memory: ', nameOf(data.text(model, label[sample]), 200)));
    if (cut[sample] >= 0) items.push(el('p', {}, 'The stack is cut: ', nameOf(data.text(model, cut[sample]), 300)));
    if (others[sample] > 0) {
      items.push(
        el('p', {}, `${format.counted(others[sample], 'other process shares', 'other processes share')} this stack.`),
      );
    }
    return items;
  }

  /** The stack as text: a head line, what holds it, and every frame. */
  function asText(model, sample, head) {
    const lines = [head];
    for (const holder of model.raw.samples.holders?.[sample] ?? [])
      lines.push(`held by ${format.name(data.text(model, holder))}`);
    data.stackOf(model, sample).forEach((node, index) => {
      const { module, position } = data.placeOf(model, model.frame[node]);
      const place = [module, position]
        .filter(Boolean)
        .map((part) => format.name(part))
        .join(' ');
      lines.push(`  #${index} ${format.name(data.frameName(model, model.frame[node]))}${place ? ` (${place})` : ''}`);
    });
    const cut = model.raw.samples.cut[sample];
    if (cut >= 0) lines.push(`  cut: ${format.name(data.text(model, cut))}`);
    return `${lines.join('\n')}\n`;
  }

  memlens.stack = { frameList, remarks, asText };
})((globalThis.memlens ??= {}));
