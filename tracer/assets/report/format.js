// Numbers and names as text: sizes, counts, durations, shares, and names that are safe to show.
(function (memlens) {
  'use strict';

  const SIZE_NAMES = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

  /** A size with three significant digits ("12.3 MiB"); a whole number of its unit has no decimals ("64 KiB"). */
  function bytes(value) {
    const size = Math.round(Math.abs(value));
    const sign = value < 0 && size > 0 ? '-' : '';
    if (size < 1024) return `${sign}${size} B`;
    let exponent = 1;
    while (exponent < SIZE_NAMES.length && size >= 1024 ** (exponent + 1)) exponent++;
    for (; ; exponent++) {
      const text = inUnit(size / 1024 ** exponent, exponent === SIZE_NAMES.length);
      if (text !== null) return `${sign}${text} ${SIZE_NAMES[exponent - 1]}`;
    }
  }

  /** A number of units, or null where rounding makes it 1024: then the next unit fits. */
  function inUnit(value, isLast) {
    if (Number.isInteger(value)) return String(value);
    if (Math.round(value * 100) < 1000) return (Math.round(value * 100) / 100).toFixed(2);
    if (Math.round(value * 10) < 1000) return (Math.round(value * 10) / 10).toFixed(1);
    const whole = Math.round(value);
    return whole < 1024 || isLast ? String(whole) : null;
  }

  /** A count in groups of three digits: "1,234,567". */
  function count(value) {
    const whole = Math.round(value);
    const digits = String(Math.abs(whole)).replace(/\B(?=(\d{3})+$)/g, ',');
    return whole < 0 ? `-${digits}` : digits;
  }

  /** A count with its noun: "1 block", "1,234 blocks". */
  function counted(value, one, many) {
    return `${count(value)} ${value === 1 ? one : many || `${one}s`}`;
  }

  function twoDigits(number) {
    return String(number).padStart(2, '0');
  }

  /** A duration, rounded down: "850ms", "10.2s", "2m05s", "2h05m", "3d4h". */
  function duration(ms) {
    const seconds = Math.floor(ms / 1000);
    if (ms < 1000) return `${Math.floor(ms)}ms`;
    if (seconds < 60) return `${seconds}.${Math.floor((ms % 1000) / 100)}s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m${twoDigits(seconds % 60)}s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)}h${twoDigits(Math.floor((seconds % 3600) / 60))}m`;
    return `${Math.floor(seconds / 86400)}d${Math.floor((seconds % 86400) / 3600)}h`;
  }

  /** A power of two of milliseconds as a short limit: "1s", "16s", "1m", "17m", "1h", "4h". */
  function ageLimit(exponent) {
    const ms = 2 ** exponent;
    if (ms < 1000) return `${ms}ms`;
    if (ms < 60e3) return `${Math.floor(ms / 1000)}s`;
    if (ms < 3600e3) return `${Math.floor(ms / 60e3)}m`;
    if (ms < 86400e3) return `${Math.floor(ms / 3600e3)}h`;
    return `${Math.floor(ms / 86400e3)}d`;
  }

  /** A number per second with three significant digits. */
  function rate(value) {
    const size = Math.abs(value);
    const sign = value < 0 ? '-' : '';
    if (size < 0.05) return '0';
    if (size < 9.95) return sign + size.toFixed(1);
    if (size < 9999.5) return sign + count(size);
    const [scaled, unit] = size < 999500 ? [size / 1e3, 'k'] : size < 999.5e6 ? [size / 1e6, 'M'] : [size / 1e9, 'G'];
    return `${sign}${scaled.toFixed(scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0)} ${unit}`;
  }

  /** Bytes per second as a size in a time that makes it a whole number: "12.3 KiB/s", "40 B/min". */
  function speed(perSecond) {
    const size = Math.abs(perSecond);
    if (size >= 10 || size === 0) return `${bytes(perSecond)}/s`;
    if (size * 60 >= 10) return `${bytes(perSecond * 60)}/min`;
    return `${bytes(perSecond * 3600)}/h`;
  }

  /** A part of a whole: "45.2%", "100%", "<0.1%". */
  function share(part, whole) {
    if (!whole || !part) return '0%';
    const thousandths = Math.round((part * 1000) / whole);
    if (thousandths === 0) return '<0.1%';
    if (part === whole) return '100%';
    return `${(thousandths / 10).toFixed(1)}%`;
  }

  const UNITS = new Map([
    ['bytes', bytes],
    ['count', count],
    ['ms', duration],
    ['bytes_per_s', speed],
    ['bytes_per_min', (value) => `${bytes(value)}/min`],
    ['count_per_s', (value) => `${rate(value)}/s`],
  ]);

  /** A value in its unit. */
  function value(number, unit) {
    if (number === null || number === undefined || Number.isNaN(number)) return '';
    const print = UNITS.get(unit);
    return print ? print(number) : `${count(number)} ${unit}`;
  }

  /** A value with its sign: "+1.20 MiB", "-512 B", "0 B". */
  function change(number, unit) {
    const text = value(number, unit);
    return number > 0 ? `+${text}` : text;
  }

  // Control characters, and those that reorder or hide text: shown as escapes, so that a name cannot pose as another.
  const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

  function escapeCharacter(character) {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  }

  /** A name as it is shown: one line, no character without a shape of its own, at most `limit` characters. */
  function name(text, limit = Infinity) {
    const cut = text.length > limit;
    // A name can be far longer than the limit: cut before the escapes are made.
    const safe = (cut ? text.slice(0, limit) : text).replace(UNSAFE, escapeCharacter);
    if (!cut && safe.length <= limit) return safe;
    return `${safe.slice(0, limit - 1).replace(/[\ud800-\udbff]$/, '')}\u2026`;
  }

  /** A moment as people read it: "2026-11-29 17:22:33 UTC". */
  function moment(text) {
    const parts = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z$/.exec(text || '');
    return parts ? `${parts[1]} ${parts[2]} UTC` : text || '';
  }

  memlens.format = { bytes, count, counted, duration, ageLimit, rate, speed, share, value, change, name, moment };
})((globalThis.memlens ??= {}));
