// The top of the page: what the profile is about, what was lost, and the findings.
(function (memlens) {
  'use strict';
  const { format, dom } = memlens;
  const { byId, el, nameOf } = dom;

  const FIRST_FINDINGS = 12;

  // What a kind of finding means for the reader: a color, always beside the kind in words.
  const TONES = new Map([
    ['leak', 'bad'],
    ['growing', 'bad'],
    ['growth', 'bad'],
    ['unexplained', 'warn'],
    ['stack_only', 'warn'],
    ['one_time_loss', 'warn'],
    ['outlook', 'warn'],
    ['collection', 'info'],
    ['load', 'info'],
    ['cache', 'info'],
    ['turnover', 'info'],
    ['change', 'info'],
    ['taken_back', 'good'],
    ['steady', 'good'],
  ]);

  /** A kind or a course as a label: color and words. */
  function chip(kind) {
    const words = format.name(kind, 40).replaceAll('_', ' ');
    return el('span', { class: `chip ${TONES.get(kind) ?? 'plain'}` }, words);
  }

  /** The sentence without the kind that stands in front of it already. */
  function sentence({ kind, text }) {
    const prefix = `${kind.replaceAll('_', ' ')}: `;
    return text.toLowerCase().startsWith(prefix) ? text.slice(prefix.length) : text;
  }

  function showHeader(raw) {
    const { meta } = raw;
    const title = format.name(raw.title, 200);
    document.title = `${title} - memlens`;
    byId('title').textContent = title;
    const facts = [
      meta.from ? `from ${format.moment(meta.from)} to ${format.moment(meta.time)}` : format.moment(meta.time),
      `traced for ${format.duration(meta.elapsed_ms)}`,
      meta.host && `host ${format.name(meta.host, 80)}`,
      meta.kernel && `kernel ${format.name(meta.kernel, 60)}`,
      meta.memlens && `memlens ${format.name(meta.memlens, 40)}`,
    ];
    byId('meta').replaceChildren(...facts.filter(Boolean).map((fact) => el('span', {}, fact)));
    showLosses(raw);
  }

  function showLosses({ complete, losses, notes }) {
    const list = (sentences) => el('ul', {}, ...sentences.map((text) => el('li', {}, nameOf(text, 2000))));
    const state =
      complete && losses.length === 0
        ? el('span', { class: 'chip good' }, 'complete')
        : el(
            'details',
            { id: 'loss-details', open: !complete },
            el(
              'summary',
              {},
              el('span', { class: 'chip warn' }, complete ? 'complete, with remarks' : 'not complete'),
              ' ',
              format.counted(losses.length, 'loss', 'losses'),
            ),
            list(losses),
          );
    byId('losses').replaceChildren(state);
    if (notes.length === 0) return;
    byId('losses').append(
      el('details', { id: 'notes' }, el('summary', {}, format.counted(notes.length, 'note')), list(notes)),
    );
  }

  /** Paper does not unfold: opens what is folded, and folds it again afterwards. */
  function setOpen(printing) {
    for (const details of byId('losses').querySelectorAll('details')) {
      if (printing) details.dataset.wasOpen = String(details.open);
      details.open = printing || details.dataset.wasOpen === 'true';
    }
  }

  function command(text) {
    return el(
      'div',
      { class: 'command' },
      el('code', { dir: 'ltr' }, format.name(text, 1000)),
      dom.copyButton(() => text),
    );
  }

  function finding(item, onSelect) {
    const words = nameOf(sentence(item), 2000);
    const text =
      item.sample >= 0
        ? el('button', { type: 'button', class: 'link', onclick: () => onSelect(item.sample) }, words)
        : words;
    const body = el('div', { class: 'finding-body' }, text);
    if (item.holder) body.append(el('div', { class: 'holder' }, 'held by ', nameOf(item.holder, 1000)));
    body.append(...item.commands.map(command));
    return el('li', { 'data-sample': item.sample }, chip(item.kind), body);
  }

  function showFindings(raw, onSelect) {
    byId('findings').hidden = raw.findings.length === 0;
    const items = raw.findings.map((item) => finding(item, onSelect));
    items.slice(FIRST_FINDINGS).forEach((item) => (item.hidden = true));
    byId('finding-list').replaceChildren(...items);
    const more = byId('more-findings');
    more.hidden = items.length <= FIRST_FINDINGS;
    more.textContent = `Show all ${format.counted(items.length, 'finding')}`;
    more.addEventListener('click', () => {
      items.forEach((item) => (item.hidden = false));
      more.hidden = true;
    });
  }

  memlens.header = { chip, setOpen, showHeader, showFindings };
})((globalThis.memlens ??= {}));
