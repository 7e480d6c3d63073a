// Histograms of ages: live bytes by age, and freed blocks by the age at which they were freed.
(function (memlens) {
  'use strict';
  const { format, dom } = memlens;
  const { svg, el } = dom;

  const HEIGHT = 84;
  const BASE = 14;
  const TOP = 12;
  const WIDEST_BAR = 56;

  /** Sum of the buckets of several samples. */
  function sumOf(lists, samples) {
    const sum = [];
    for (const sample of samples) {
      (lists?.[sample] ?? []).forEach((value, bucket) => (sum[bucket] = (sum[bucket] ?? 0) + value));
    }
    return Array.from(sum, (value) => value ?? 0);
  }

  /** Bucket 0 holds ages below 1 ms, bucket k those from 2^(k-1) to 2^k ms. */
  function bucketWords(bucket) {
    if (bucket === 0) return 'less than 1ms';
    return `${format.ageLimit(bucket - 1)} to ${format.ageLimit(bucket)}`;
  }

  /** The lower limit of the bucket in which half of the sum is reached, from the oldest. */
  function medianWords(buckets) {
    const half = buckets.reduce((sum, value) => sum + value, 0) / 2;
    let sum = 0;
    for (let bucket = buckets.length - 1; bucket > 0; bucket--) {
      sum += buckets[bucket];
      if (sum >= half) return `half older than ${format.ageLimit(bucket - 1)}`;
    }
    return 'half younger than 1ms';
  }

  function bar(bucket, value, x, width, scale, unit) {
    const height = value > 0 ? Math.max(value * scale, 1) : 0;
    return svg(
      'rect',
      { class: 'bar', x, y: HEIGHT - BASE - height, width: Math.max(width - 1, 1), height },
      svg('title', {}, document.createTextNode(`${bucketWords(bucket)}: ${format.value(value, unit)}`)),
    );
  }

  /** A histogram of log2 buckets, from the first to the last that is not empty. */
  function histogram(buckets, unit, pixels, range) {
    const [first, last] = range;
    const most = Math.max(...buckets, 1);
    const width = Math.min(pixels / (last - first + 1), WIDEST_BAR);
    const scale = (HEIGHT - BASE - TOP) / most;
    const chart = svg('svg', { viewBox: `0 0 ${pixels} ${HEIGHT}`, width: pixels, height: HEIGHT, role: 'img' });
    const every = Math.ceil(42 / width);
    for (let bucket = first; bucket <= last; bucket++) {
      const x = (bucket - first) * width;
      chart.append(bar(bucket, buckets[bucket] ?? 0, x, width, scale, unit));
      if (bucket > 0 && (bucket - first) % every === 0) {
        const label = svg('text', { x: x + 1, y: HEIGHT - 3, class: 'tick' });
        label.textContent = format.ageLimit(bucket - 1);
        chart.append(label);
      }
    }
    chart.append(svg('line', { class: 'axis', x1: 0, x2: pixels, y1: HEIGHT - BASE + 0.5, y2: HEIGHT - BASE + 0.5 }));
    return chart;
  }

  function rangeOf(lists) {
    const filled = lists.flatMap((list) => list.flatMap((value, bucket) => (value > 0 ? [bucket] : [])));
    return filled.length > 0 ? [Math.min(...filled), Math.max(...filled)] : null;
  }

  function part(title, buckets, unit, pixels, range) {
    const total = buckets.reduce((sum, value) => sum + value, 0);
    const words = total > 0 ? `${format.value(total, unit)}, ${medianWords(buckets)}` : 'none known';
    const figure = el('figure', {}, el('figcaption', {}, el('b', {}, title), ` ${words}`));
    if (total > 0 && range) {
      const chart = histogram(buckets, unit, pixels, range);
      chart.setAttribute('aria-label', `${title}: ${words}`);
      figure.append(chart);
    }
    return figure;
  }

  /** Width of one histogram: two are side by side where there is room. `paper`: width of the page, or 0. */
  function columnWidth(container, source, paper) {
    const whole = paper || Math.max(container.clientWidth, 200);
    return source.hasAges && source.hasFreed && whole > 640 ? Math.floor((whole - 24) / 2) : whole;
  }

  /** Shows the ages of some samples. */
  function show(container, model, source, samples, paper) {
    const { ages, freed } = model.raw.samples;
    const live = sumOf(ages, samples);
    const gone = sumOf(freed, samples);
    // One scale of ages for both: they are read against each other.
    const range = rangeOf([live, gone]);
    const pixels = columnWidth(container, source, paper);
    const parts = [];
    if (source.hasAges) parts.push(part('Live bytes by age', live, 'bytes', pixels, range));
    if (source.hasFreed) parts.push(part('Freed blocks by age when freed', gone, 'count', pixels, range));
    container.replaceChildren(...parts);
  }

  memlens.ages = { show, sumOf, bucketWords, medianWords };
})((globalThis.memlens ??= {}));
