// Treemap of the memory ledger: squarified rectangles, two levels, and the same figures as a table.
(function (memlens) {
  'use strict';
  const { format, dom, colors } = memlens;
  const { el, nameOf } = dom;

  const HEIGHT = 260;
  const HEADING = 17;

  /** Worst ratio of the sides in a strip of areas along a side. */
  function worst(areas, side) {
    const sum = areas.reduce((total, area) => total + area, 0);
    const square = (sum / side) ** 2;
    return Math.max(Math.max(...areas) / square, square / Math.min(...areas));
  }

  /** Squarified layout (Bruls et al.): rectangles {x, y, width, height} of sizes that are sorted, the largest first. */
  function squarify(sizes, x, y, width, height) {
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const scale = total > 0 ? (width * height) / total : 0;
    const areas = sizes.map((size) => size * scale);
    const places = [];
    const free = { x, y, width, height };
    for (let from = 0; from < areas.length;) {
      const side = Math.min(free.width, free.height);
      let to = from + 1;
      while (to < areas.length && worst(areas.slice(from, to + 1), side) <= worst(areas.slice(from, to), side)) to++;
      places.push(...strip(areas.slice(from, to), free));
      from = to;
    }
    return places;
  }

  /** Places a strip at the shorter side of what is free, and takes its place away. */
  function strip(areas, free) {
    const sum = areas.reduce((total, area) => total + area, 0);
    const upright = free.width >= free.height;
    const thickness = sum / (upright ? free.height : free.width) || 0;
    let along = upright ? free.y : free.x;
    const places = areas.map((area) => {
      const length = thickness > 0 ? area / thickness : 0;
      const place = upright
        ? { x: free.x, y: along, width: thickness, height: length }
        : { x: along, y: free.y, width: length, height: thickness };
      along += length;
      return place;
    });
    if (upright) {
      free.x += thickness;
      free.width -= thickness;
    } else {
      free.y += thickness;
      free.height -= thickness;
    }
    return places;
  }

  /** A row of the ledger in words. */
  function words({ name, rss, size, swap }) {
    const parts = [`${format.bytes(rss)} in memory`];
    if (size > 0 && size !== rss) parts.push(`${format.bytes(size)} of address space`);
    if (swap > 0) parts.push(`${format.bytes(swap)} in swap`);
    return `${format.name(name, 160)}: ${parts.join(', ')}`;
  }

  function sorted(rows) {
    return rows.filter((row) => row.rss > 0).sort((a, b) => b.rss - a.rss);
  }

  function rectangle(row, place, level, dark) {
    const box = el('div', { class: `cell level${level}`, title: words(row) });
    box.style.left = `${place.x}px`;
    box.style.top = `${place.y}px`;
    box.style.width = `${Math.max(place.width - 1, 0)}px`;
    box.style.height = `${Math.max(place.height - 1, 0)}px`;
    box.style.backgroundColor = colors.ofName(row.name, dark);
    if (place.width > 40 && place.height > 14) {
      box.append(nameOf(row.name, 80), ' ', el('span', { class: 'number' }, format.bytes(row.rss)));
    }
    return box;
  }

  function cells(rows, area, level, dark) {
    const list = sorted(rows);
    const places = squarify(
      list.map((row) => row.rss),
      area.x,
      area.y,
      area.width,
      area.height,
    );
    return list.flatMap((row, index) => {
      const place = places[index];
      const own = rectangle(row, place, level, dark);
      const inner = {
        x: place.x + 2,
        y: place.y + HEADING,
        width: place.width - 5,
        height: place.height - HEADING - 3,
      };
      const nested = level < 2 && row.rows?.length > 0 && inner.width > 30 && inner.height > 20;
      return nested ? [own, ...cells(row.rows, inner, level + 1, dark)] : [own];
    });
  }

  function tableRows(rows, level, total) {
    return [...rows]
      .sort((a, b) => b.rss - a.rss)
      .flatMap((row) => {
        const name = el('th', { scope: 'row' }, nameOf(row.name, 120));
        name.style.paddingLeft = `${level * 14 + 4}px`;
        const number = (value) => el('td', { class: 'number' }, value > 0 ? format.bytes(value) : '');
        return [
          el(
            'tr',
            {},
            name,
            number(row.rss),
            el('td', { class: 'number' }, format.share(row.rss, total)),
            number(row.size),
            number(row.swap),
          ),
          ...tableRows(row.rows || [], level + 1, total),
        ];
      });
  }

  /** Shows the ledger in the elements map, table body and words. `paper`: width of the page, or 0. */
  function show(elements, ledger, paper) {
    const dark = document.documentElement.dataset.theme === 'dark';
    const width = paper || Math.max(elements.map.clientWidth, 200);
    elements.map.style.height = `${HEIGHT}px`;
    elements.map.replaceChildren(...cells(ledger.rows, { x: 0, y: 0, width, height: HEIGHT }, 1, dark));
    elements.body.replaceChildren(...tableRows(ledger.rows, 0, ledger.total));
    elements.words.textContent = `${format.bytes(ledger.total)} in all`;
  }

  memlens.treemap = { show, squarify, words };
})((globalThis.memlens ??= {}));
