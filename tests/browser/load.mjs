// The scripts of the report without a browser: those that need no document, on one namespace object.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import vm from 'node:vm';
import { ASSETS } from './build.mjs';

const PURE = ['format.js', 'data.js', 'values.js', 'tree.js', 'search.js', 'colors.js', 'describe.js'];

export function loadPure() {
  for (const name of PURE) {
    vm.runInThisContext(readFileSync(join(ASSETS, 'report', name), 'utf8'), { filename: name });
  }
  return globalThis.memlens;
}
