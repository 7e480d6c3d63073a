// The tooltip of the icicle: the box under the pointer in words.
(function (memlens) {
  'use strict';
  const { format, dom, describe } = memlens;

  function line(className, text) {
    return text ? dom.el('div', { class: className, dir: 'ltr' }, text) : '';
  }

  /** Beside the pointer, and inside of the window. */
  function moveTo(tip, { clientX, clientY }) {
    const left = Math.min(clientX + 12, window.innerWidth - tip.offsetWidth - 8);
    const below = clientY + 16;
    const top = below + tip.offsetHeight > window.innerHeight - 4 ? clientY - tip.offsetHeight - 10 : below;
    tip.style.transform = `translate(${Math.max(left, 4)}px, ${Math.max(top, 4)}px)`;
  }

  /** Shows a box of the page's icicle; -1 hides the tooltip. */
  function show(page, box, event) {
    const tip = dom.byId('tooltip');
    tip.hidden = box < 0;
    if (box < 0) return;
    const words = describe.box(page.model, page.flame.tree, box, page.view());
    tip.replaceChildren(
      line('tip-name', box === 0 ? format.name(page.flame.rootText, 300) : words.name),
      line('tip-value', words.value),
      line('tip-value', words.extra),
      line('tip-place', words.place),
    );
    moveTo(tip, event);
  }

  memlens.tooltip = { show };
})((globalThis.memlens ??= {}));
