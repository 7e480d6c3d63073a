// What a view measures: the measures that a source offers, and the value of each sample.
(function (memlens) {
  'use strict';

  /** Value of a list over time at a point; what is not there yet is nothing. */
  function valueAt(list, point) {
    return list?.[point] ?? 0;
  }

  /** Bytes in whole buckets that are at least 2^exponent ms old. Bucket k holds ages from 2^(k-1) to 2^k ms. */
  function olderThan(buckets, exponent) {
    let sum = 0;
    for (let bucket = exponent + 1; bucket < (buckets?.length ?? 0); bucket++) sum += buckets[bucket];
    return sum;
  }

  /** Bytes with an age, and the sum of bytes times the age in the middle of their bucket. */
  function ageSum(buckets) {
    let bytes = 0;
    let weighted = 0;
    (buckets || []).forEach((size, bucket) => {
      bytes += size;
      weighted += size * (bucket === 0 ? 0.5 : 0.75 * 2 ** bucket);
    });
    return { bytes, weighted };
  }

  /** Limits of age that tell something, as powers of two of milliseconds: 1s, 4s, 16s, 1m, 4m, 17m and so on. */
  function exponentsOf(model, source) {
    const { ages } = model.raw.samples;
    const longest = source.samples.reduce((most, sample) => Math.max(most, ages?.[sample]?.length ?? 0), 0);
    const exponents = [];
    for (let exponent = 10; exponent <= longest - 2; exponent += 2) exponents.push(exponent);
    return exponents;
  }

  /** The measures that a source offers, each with what the page needs to compute and to print it. */
  function measuresOf(model, source) {
    const { measures, samples } = model.raw;
    const { primary, change } = source.roles;
    const column = (kind, index) => ({ id: `${kind}:${index}`, kind, index, ...described(measures[index]) });
    const offered = source.columns.filter((index) => ['level', 'total'].includes(measures[index].kind));
    if (primary >= 0 && !offered.includes(primary)) offered.unshift(primary);
    const list = offered.map((index) => column('column', index));
    if (source.history || (samples.before && primary >= 0)) {
      list.push({ id: 'growth', kind: 'growth', index: primary, ...described(measures[primary]), name: 'growth' });
    } else {
      const rates = source.columns.filter((index) => ['change', 'rate'].includes(measures[index].kind));
      if (change >= 0 && rates.includes(change)) rates.unshift(...rates.splice(rates.indexOf(change), 1));
      list.push(...rates.map((index) => column('signed', index)));
    }
    if (source.hasAges) {
      if (exponentsOf(model, source).length > 0) {
        list.push({ id: 'older', kind: 'older', index: primary, unit: 'bytes', name: 'bytes older' });
      }
      list.push({ id: 'age', kind: 'age', index: primary, unit: 'bytes', name: 'mean age (color)' });
    }
    return list;
  }

  function described({ name, unit }) {
    return { name, unit };
  }

  /** Change of each sample: over the interval where there is a history, else since the earlier moment. */
  function growthOf(model, source, interval) {
    return (sample) => {
      if (source.history) {
        const list = source.history[sample];
        // Of some stacks there is no history: their growth is not known.
        if (!list?.length) return null;
        return valueAt(list, interval[1]) - valueAt(list, interval[0]);
      }
      const { values, before } = model.raw.samples;
      return (values[source.roles.primary][sample] ?? 0) - (before?.[source.roles.primary]?.[sample] ?? 0);
    };
  }

  /** Before and after of each sample for the difference view. */
  function differenceOf(model, source, measure, interval) {
    const { values, before } = model.raw.samples;
    const index = before && measure.kind === 'column' ? measure.index : source.roles.primary;
    if (before) return (sample) => [before[index]?.[sample] ?? 0, values[index][sample] ?? 0];
    const list = (sample) => source.history[sample];
    return (sample) => [valueAt(list(sample), interval[0]), valueAt(list(sample), interval[1])];
  }

  function canDiffer(model, source) {
    return Boolean(model.raw.samples.before || source.history);
  }

  /** Of each sample what the view is about: width, net change, before, and bytes and age where it is about age. */
  function sampleValue(model, source, view) {
    const { values, ages } = model.raw.samples;
    const { measure, interval } = view;
    const plain = (width) => ({ width, net: width, before: 0, after: 0, aged: 0, age: 0 });
    if (view.diff) {
      const pair = differenceOf(model, source, measure, interval);
      return (sample) => {
        const [before, after] = pair(sample);
        return { ...plain(Math.abs(after - before)), net: after - before, before, after };
      };
    }
    const signed = (of) => (sample) => {
      const net = of(sample) ?? 0;
      return { ...plain(Math.max(net, 0)), net };
    };
    switch (measure.kind) {
      case 'growth':
        return signed(growthOf(model, source, interval));
      case 'signed':
        return signed((sample) => values[measure.index][sample] ?? 0);
      case 'older':
        return (sample) => plain(olderThan(ages[sample], view.exponent));
      case 'age':
        return (sample) => {
          const { bytes, weighted } = ageSum(ages[sample]);
          return { ...plain(values[measure.index]?.[sample] ?? 0), aged: bytes, age: weighted };
        };
      default:
        return (sample) => plain(values[measure.index][sample] ?? 0);
    }
  }

  /** Samples of the view's source and process. */
  function samplesOf(model, source, subject) {
    if (subject < 0) return source.samples;
    return source.samples.filter((sample) => model.raw.samples.subject[sample] === subject);
  }

  memlens.values = { exponentsOf, measuresOf, growthOf, canDiffer, sampleValue, samplesOf, olderThan, ageSum };
})((globalThis.memlens ??= {}));
