// Elements of the page: making them with text only, copying, announcing.
(function (memlens) {
  'use strict';

  memlens.stats = {};

  function byId(id) {
    return document.getElementById(id);
  }

  /** An element with attributes and children. Strings become text nodes: names are never read as markup. */
  function el(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) {
        element.setAttribute(name, value === true ? '' : value);
      }
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
    return element;
  }

  function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** A name of a function, file or process: isolated, so that its direction does not change the text around it. */
  function nameOf(text, limit, attributes = {}) {
    return el('bdi', { dir: 'ltr', ...attributes }, memlens.format.name(text, limit));
  }

  /** Puts text on the clipboard. A page from disk may not be allowed to: then the text is shown and selected. */
  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
      flash(button, 'Copied');
    } catch {
      offer(text);
    }
  }

  function flash(button, text) {
    if (!button) return;
    const before = button.dataset.label ?? button.textContent;
    button.dataset.label = before;
    button.textContent = text;
    announce(text);
    setTimeout(() => (button.textContent = before), 1200);
  }

  function offer(text) {
    const dialog = byId('copy-dialog');
    const content = byId('copy-text');
    content.textContent = text;
    dialog.showModal();
    getSelection().selectAllChildren(content);
  }

  function copyButton(textOf, label = 'Copy') {
    const button = el('button', { type: 'button', class: 'small' }, label);
    button.addEventListener('click', (event) => {
      event.stopPropagation();
      copy(textOf(), button);
    });
    return button;
  }

  /** Says something to screen readers. */
  function announce(text) {
    byId('live').textContent = text;
  }

  /** Fills a select; each option is {id, text}. */
  function fillSelect(select, options, chosen) {
    select.replaceChildren(...options.map(({ id, text }) => el('option', { value: String(id) }, text)));
    select.value = String(chosen);
  }

  memlens.dom = { byId, el, svg, nameOf, copy, copyButton, announce, fillSelect };
})((globalThis.memlens ??= {}));
