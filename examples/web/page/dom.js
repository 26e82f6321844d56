// el makes an element. Attributes that start with "on" are listeners.
// Attributes that are false or undefined are left out. Strings among the children become
// text, never markup.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

let ids = 0;

// newId makes an ID for an element that another one refers to.
export const newId = () => `id-${++ids}`;
