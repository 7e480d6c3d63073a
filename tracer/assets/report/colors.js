// Colors of boxes: stable for a function's name, and scales for changes and ages, in both themes.
(function (memlens) {
  'use strict';

  /** FNV-1a over the text: the same name has the same color in every report. */
  function hash(text) {
    let value = 0x811c9dc5;
    for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
    // The low bits of FNV depend on the last characters only: mix the high ones in.
    return (value ^ (value >>> 15)) >>> 0;
  }

  function hsl(hue, saturation, lightness) {
    return `hsl(${Math.round(hue)} ${Math.round(saturation)}% ${Math.round(lightness)}%)`;
  }

  /** Functions of one namespace ("alloc::", "ngx_") have neighboring hues, so that libraries are seen as groups. */
  function ofName(name, dark) {
    const space = /[A-Za-z0-9]+/.exec(name)?.[0] ?? name;
    const own = hash(name);
    const hue = ((hash(space) % 360) + (own % 25) - 12 + 360) % 360;
    const step = (own >>> 8) % 7;
    return dark ? hsl(hue, 26, 25 + step) : hsl(hue, 42, 81 + step);
  }

  /** From -1, all of it less (blue), to 1, all of it more (red). */
  function ofChange(ratio, dark) {
    const size = Math.min(Math.abs(ratio), 1);
    if (size < 0.005) return dark ? hsl(0, 0, 24) : hsl(0, 0, 88);
    const hue = ratio > 0 ? 6 : 214;
    return dark ? hsl(hue, 30 + 30 * size, 24 + 10 * size) : hsl(hue, 55 + 30 * size, 92 - 18 * size);
  }

  /** From 0, new, to 1, as old as the oldest. */
  function ofAge(fraction, dark) {
    const part = Math.min(Math.max(fraction, 0), 1);
    return dark ? hsl(266, 10 + 32 * part, 20 + 20 * part) : hsl(266, 30 + 30 * part, 95 - 22 * part);
  }

  // Distinct in lightness as well, for readers who do not tell some hues apart; at least 3:1 against the page.
  const LINES = {
    light: [
      '#1f5fbf',
      '#c2410c',
      '#15803d',
      '#7e22ce',
      '#b7791f',
      '#0e7490',
      '#be123c',
      '#4d5a6b',
      '#6b8e23',
      '#a0527a',
    ],
    dark: [
      '#6aa5f8',
      '#f0884d',
      '#5fcf80',
      '#c08af5',
      '#e6c15c',
      '#4cc7d9',
      '#f2708a',
      '#a3b0c2',
      '#b1d157',
      '#dfa0c4',
    ],
  };

  function ofLine(index, dark) {
    const lines = dark ? LINES.dark : LINES.light;
    return lines[index % lines.length];
  }

  memlens.colors = { hash, ofName, ofChange, ofAge, ofLine };
})((globalThis.memlens ??= {}));
