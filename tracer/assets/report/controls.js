// Controls of the page: selects, buttons, keys, theme, paper.
(function (memlens) {
  'use strict';
  const { dom } = memlens;
  const { byId } = dom;

  function setTheme(dark) {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    byId('theme').textContent = dark ? 'Light' : 'Dark';
  }

  /** The theme of the system, until the button says otherwise. */
  function startTheme() {
    setTheme(matchMedia('(prefers-color-scheme: dark)').matches);
  }

  function listenTheme(page) {
    let chosen = false;
    const isDark = () => document.documentElement.dataset.theme === 'dark';
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
      if (chosen || page.printing) return;
      setTheme(event.matches);
      page.recolor();
    });
    byId('theme').addEventListener('click', () => {
      chosen = true;
      setTheme(!isDark());
      page.recolor();
    });
  }

  /** Draws the page for paper: light, unfolded, with the frames of the first stacks. Afterwards as it was. */
  function print(page, printing) {
    if (Boolean(page.printing) === printing) return;
    page.printing = printing;
    const root = document.documentElement;
    if (printing) page.screenTheme = root.dataset.theme;
    root.dataset.theme = printing ? 'light' : page.screenTheme;
    if (printing && page.source) page.table.print();
    else page.table.clearPrint();
    memlens.header.setOpen(printing);
    if (page.series) page.series.printing = printing;
    page.flame.setPrinting(printing);
    page.recolor();
    if (page.source) page.showLists();
  }

  function listenPaper(page) {
    matchMedia('print').addEventListener('change', (event) => print(page, event.matches));
    window.addEventListener('beforeprint', () => print(page, true));
    window.addEventListener('afterprint', () => print(page, false));
  }

  function listenSelects(page) {
    const on = (id, act) => byId(id).addEventListener('change', (event) => act(event.target.value));
    on('source', (value) => page.setSource(Number(value)));
    on('subject', (value) => {
      page.set({ subject: Number(value), selected: -1 });
      page.showSeries();
    });
    on('measure', (value) => page.setMeasure(value));
    on('exponent', (value) => page.set({ exponent: Number(value) }));
    byId('search').addEventListener('input', (event) => {
      page.setSearch(event.target.value);
      page.showMatches();
      page.showLists();
    });
  }

  /** What the keys do. Those of the stacks do nothing in a report without stacks. */
  const ACTIONS = {
    i: (page) => page.set({ inverted: !page.state.inverted }, false),
    d: (page) => page.toggleDiff(),
    a: (page) => page.set({ fold: !page.state.fold }, false),
    '?': () => byId('help').showModal(),
    '/': () => {
      byId('search').focus();
      byId('search').select();
    },
    Escape: (page) => page.escape(),
  };

  function listenButtons(page) {
    const on = (id, key) => byId(id).addEventListener('click', () => ACTIONS[key](page));
    on('invert', 'i');
    on('diff', 'd');
    on('frames', 'a');
    on('help-open', '?');
    byId('zoom-reset').addEventListener('click', () => page.flame.zoom(0));
  }

  function isTyping(target) {
    return target.matches?.('input:not([type=range]), select, textarea');
  }

  function listenKeys(page) {
    document.addEventListener('keydown', (event) => {
      // A dialog has its own Escape.
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
      const inSearch = event.target === byId('search');
      if (inSearch && (event.key === 'Escape' || event.key === 'Enter')) byId('flame').focus({ preventScroll: true });
      if (isTyping(event.target) && !(inSearch && event.key === 'Escape')) return;
      const act = ACTIONS[event.key];
      if (!act || (!page.source && event.key !== '?')) return;
      event.preventDefault();
      byId('tooltip').hidden = true;
      act(page);
    });
  }

  function listenSize(page) {
    let width = window.innerWidth;
    let pending = 0;
    window.addEventListener('resize', () => {
      if (window.innerWidth === width || page.printing) return;
      width = window.innerWidth;
      cancelAnimationFrame(pending);
      pending = requestAnimationFrame(() => {
        if (page.source) page.showLists();
        page.showLedger();
      });
    });
  }

  function listen(page) {
    for (const part of [listenTheme, listenPaper, listenSelects, listenButtons, listenKeys, listenSize]) part(page);
  }

  memlens.controls = { listen, startTheme };
})((globalThis.memlens ??= {}));
