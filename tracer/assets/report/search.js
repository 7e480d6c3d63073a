// Search: the test of a search text, and what matches of functions, samples and boxes.
(function (memlens) {
  'use strict';
  const data = memlens.data;

  /** The test of a search: a substring, or a regular expression between slashes; all lower-case: any case. */
  function matcher(text) {
    if (!text) return { test: null, error: null };
    const expression = /^\/(.+)\/$/.exec(text);
    // "\S" is no upper-case letter of a name.
    const anyCase = !/\p{Lu}/u.test(expression ? text.replace(/\\./g, '') : text);
    if (!expression) {
      return { test: (name) => (anyCase ? name.toLowerCase() : name).includes(text), error: null };
    }
    try {
      const regular = new RegExp(expression[1], anyCase ? 'i' : '');
      return { test: (name) => regular.test(name), error: null };
    } catch (error) {
      return { test: null, error: error.message.replace(/^Invalid regular expression: (\/.*\/[a-z]*: )?/, '') };
    }
  }

  /** Which functions, nodes and samples match: a sample does if a frame of its stack or its label does. */
  function matches(model, test) {
    const names = model.functions.name.map((name) => (test(data.text(model, name)) ? 1 : 0));
    const functions = Uint8Array.from(names);
    const nodes = new Uint8Array(model.parent.length);
    for (let node = 0; node < nodes.length; node++) {
      const up = model.parent[node];
      nodes[node] = functions[model.functions.of[model.frame[node]]] || (up >= 0 ? nodes[up] : 0);
    }
    const samples = new Uint8Array(model.node.length);
    for (let sample = 0; sample < samples.length; sample++) {
      const node = model.node[sample];
      const label = data.labelOf(model, sample);
      samples[sample] = (node >= 0 && nodes[node]) || (label && test(label)) ? 1 : 0;
    }
    return { functions, samples, test };
  }

  /** Boxes that match: by their function, by one of the folded functions, or by their label. */
  function matchingBoxes(model, tree, found) {
    const { frame, label, members } = tree.boxes;
    const matching = new Uint8Array(tree.size);
    for (let box = 1; box < tree.size; box++) {
      const inside = members.get(box);
      if (label[box] !== null) matching[box] = found.test(label[box]) ? 1 : 0;
      else if (inside) matching[box] = [...inside].some((id) => found.functions[id]) ? 1 : 0;
      else matching[box] = found.functions[model.functions.of[frame[box]]];
    }
    return matching;
  }

  /** Width of the samples that match. */
  function matchedWidth(tree, found) {
    let sum = 0;
    tree.samples.forEach((sample, at) => {
      if (found.samples[sample]) sum += tree.sampleWidth[at];
    });
    return sum;
  }

  memlens.search = { matcher, matches, matchingBoxes, matchedWidth };
})((globalThis.memlens ??= {}));
