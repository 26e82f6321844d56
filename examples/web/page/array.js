// Fields for a list: boxes to tick for constants, else rows to add and remove.

import { choicesOf } from "./choice.js";
import { el, newId } from "./dom.js";
import { whenEmpty } from "./empty.js";
import { isObject } from "./exact.js";
import { allowance, field, hintOf, requiredMark, titleOf } from "./field.js";
import { amount, size, words } from "./limits.js";
import { resolve } from "./schema.js";

const maxBoxes = 100; // to tick
const maxBegun = 50; // rows that are there from the beginning
const maxRows = 500; // with values

export function arrayField(spec) {
  return severalField(spec) ?? listField(spec);
}

// box is the frame of both.
function box(spec, hint, ...children) {
  const titleId = newId();
  return el("div", { class: "box", role: "group", "aria-labelledby": titleId },
    el("div", { class: "label" }, el("p", { class: "box-title", id: titleId },
      el("bdi", { "data-label": spec.hideLabel && titleOf(spec) }, titleOf(spec)), requiredMark(spec)), children.shift()),
    hint, ...children);
}

// severalField has a box to tick for each of a list of constants, and is undefined
// for every other list.
function severalField(spec) {
  const { schema } = spec;
  const initial = spec.initial ?? [];
  const items = isObject(schema.items) && resolve(schema.items, spec.root);
  const choices = items && Array.isArray(items.enum) && !items.nullable ? choicesOf(items) : [];
  const keys = choices.map(({ value }) => JSON.stringify(value));
  const given = new Set(initial.map((value) => JSON.stringify(value)));
  const known = given.size === initial.length && [...given].every((key) => keys.includes(key));
  const least = size(schema.minItems) ?? 0;
  if (choices.length === 0 || choices.length > maxBoxes || least > choices.length || !known) return undefined;
  const most = Math.min(size(schema.maxItems) ?? Infinity, choices.length);
  const inputs = keys.map((key) => el("input", { type: "checkbox", id: newId(), checked: given.has(key), onchange: () => check() }));
  const empty = whenEmpty(spec, titleOf(spec), least > 0 ? undefined : [], () => check());
  const check = () => {
    const count = inputs.filter((input) => input.checked).length;
    const fits = count === 0 ? !empty.needed() : count >= least && count <= most;
    inputs[0].setCustomValidity(fits ? "" : least === most ? `Choose ${least}.` : `Choose ${least} to ${most}.`);
    if (empty.element) empty.element.hidden = count > 0;
  };
  check();
  return {
    element: box(spec, hintOf(schema), empty.element, el("div", { class: "checks" }, ...inputs.map((input, i) =>
      el("div", { class: "field check" }, input, el("label", { for: input.id, dir: "auto" }, choices[i].label))))),
    read: () => {
      const chosen = choices.filter((_, i) => inputs[i].checked).map(({ value }) => value);
      return chosen.length > 0 ? chosen : empty.read();
    },
  };
}

// listField has buttons to add and remove rows. It is undefined for lists that
// have no schema for their items, or more rows than a page can bear.
function listField(spec) {
  const { schema, required } = spec;
  const least = size(schema.minItems) ?? 0;
  const most = size(schema.maxItems) ?? Infinity;
  const initial = Array.isArray(spec.initial) ? spec.initial : [];
  const items = isObject(schema.items) && resolve(schema.items, spec.root);
  if (!items || schema.prefixItems || least > maxBegun || initial.length > maxRows) return undefined;
  const one = titleOf(spec).replace(/([^s])s$/, "$1");
  const rows = new Rows(spec, one);
  const empty = whenEmpty(spec, titleOf(spec), least > 0 ? undefined : [], undefined);
  const add = el("button", { type: "button", class: "small", onclick: () => {
    spec.budget.left = allowance;
    const row = rows.append();
    while (rows.all.length < least) rows.append();
    show();
    row.focus();
  } }, `Add ${one.toLowerCase()}`);
  const clear = el("button", { type: "button", class: "small quiet", onclick: () => {
    rows.clear();
    show();
    add.focus();
  } }, "Leave out");
  const show = () => {
    const count = rows.all.length;
    rows.number(count > least || (!required && least <= 1));
    add.disabled = count >= most;
    clear.hidden = required || least < 2 || count === 0;
    if (empty.element) empty.element.hidden = count > 0;
  };
  rows.removed = () => {
    show();
    add.focus();
  };
  initial.forEach((value) => rows.append(value));
  while (((required && !schema.nullable) || initial.length > 0) && rows.all.length < least) rows.append();
  show();
  const hint = [schema.description, words(schema), items.description, words(items)].filter(Boolean).map(String).join(" ");
  return {
    element: box(spec, hintOf({ description: hint }), empty.element, rows.element, el("div", { class: "actions" }, add, clear)),
    read: () => (rows.all.length > 0 ? rows.all.map((row) => row.read() ?? null) : empty.read()),
  };
}

// Rows are the items of a list on the page.
class Rows {
  constructor(spec, one) {
    Object.assign(this, { spec, one, all: [], removed: undefined, element: el("ol", { class: "rows" }) });
  }

  append(initial) {
    const { schema, root, depth, budget } = this.spec;
    const item = field({ schema: schema.items, name: this.one, root, depth: depth + 1, budget, required: true, initial, fresh: true, hideLabel: true });
    const remove = el("button", { type: "button", class: "small quiet", onclick: () => {
      this.all.splice(this.all.indexOf(row), 1);
      row.element.remove();
      this.removed();
    } }, "Remove");
    const row = {
      element: el("li", {}, item.element, remove), read: item.read, remove,
      focus: () => item.element.querySelector("input, select, textarea")?.focus(),
    };
    this.all.push(row);
    this.element.append(row.element);
    return row;
  }

  clear() {
    this.all = [];
    this.element.replaceChildren();
  }

  // number gives the rows their numbers, and says whether rows can be removed.
  number(removable) {
    this.all.forEach((row, i) => {
      row.remove.setAttribute("aria-label", `Remove ${this.one.toLowerCase()} ${i + 1}`);
      row.remove.hidden = !removable;
      const title = row.element.querySelector("[data-label]");
      if (title) title.textContent = `${title.dataset.label} ${i + 1}`;
    });
  }
}
