// A field for what is one of several: which one, and then that one's fields.

import { el } from "./dom.js";
import { allowance, field, labelled } from "./field.js";
import { fitting } from "./schema.js";

// variantField is undefined where none of the variants has a place for the value.
// With first, one is chosen from the beginning.
export function variantField(spec, first) {
  const { schema, required, initial, root, depth, budget } = spec;
  const { variants } = schema;
  const begun = initial !== undefined && initial !== null;
  const at = begun ? fitting(initial, variants, root) : first ? 0 : -1;
  if (begun && at < 0) return undefined;
  const place = el("div", { class: "variant" });
  let chosen;
  const show = (value) => {
    const variant = variants[select.value];
    chosen = variant && field({ schema: variant.schema, name: variant.label, required: true, root, depth: depth + 1, budget, initial: value, fresh: true });
    place.replaceChildren(...(chosen ? [chosen.element] : []));
  };
  const select = el("select", { required, onchange: () => {
    budget.left = allowance;
    show();
  } }, first ? undefined : el("option", { value: "" }, required ? "Choose…" : "Not set"),
    ...variants.map(({ label }, i) => el("option", { value: i, selected: i === at }, label)),
    schema.nullable ? el("option", { value: "null", selected: spec.given && initial === null }, "null") : undefined);
  show(begun ? initial : undefined);
  return {
    element: el("div", { class: "box" }, labelled(spec, select), place),
    read: () => (select.value === "null" ? null : chosen?.read()),
  };
}
