// The table of stacks and the histograms of ages: which samples of the page's view they show.
(function (memlens) {
  'use strict';
  const { format, data, values, tree: views, dom } = memlens;
  const { byId } = dom;

  /** The samples that are in a box of the tree. */
  function inside(tree, box) {
    const within = new Uint8Array(tree.size);
    within[box] = 1;
    // A parent comes before its children.
    for (let below = box + 1; below < tree.size; below++) within[below] = within[tree.parent[below]];
    return new Set(tree.samples.filter((_, at) => within[tree.boxOf[at]]));
  }

  /** Those of the view that match the search and are in the zoomed box. */
  function listed({ found, flame }, samples) {
    const matching = found ? samples.filter((sample) => found.samples[sample]) : samples;
    if (flame.zoomed === 0) return matching;
    const zoomed = inside(flame.tree, flame.zoomed);
    return matching.filter((sample) => zoomed.has(sample));
  }

  /** "37 of 2,005 stacks through main". */
  function wordsOf({ model, flame }, shown, all) {
    const number = format.counted(all, 'stack');
    const part = shown === all ? number : `${format.count(shown)} of ${number}`;
    if (flame.zoomed === 0) return part;
    return `${part} through ${format.name(views.boxText(model, flame.tree, flame.zoomed), 80)}`;
  }

  function show(page) {
    const all = values.samplesOf(page.model, page.source, page.state.subject);
    const samples = listed(page, all);
    const words = wordsOf(page, samples.length, all.length);
    // The ages first: they need the width of the page, which is quicker to get without the rows of the table.
    showAges(page, samples, words);
    page.table.show(page.view(), samples, words);
  }

  function showAges({ model, source, state, paper }, samples, words) {
    const { hasAges, hasFreed } = source;
    byId('ages').hidden = !hasAges && !hasFreed;
    if (byId('ages').hidden) return;
    const { selected } = state;
    const name = selected >= 0 ? format.name(data.wantedBy(model, selected), 80) : '';
    byId('ages-words').textContent = name ? `of the selected stack: ${name}` : `of ${words}`;
    memlens.ages.show(byId('ages-charts'), model, source, name ? [selected] : samples, paper);
  }

  memlens.lists = { show };
})((globalThis.memlens ??= {}));
