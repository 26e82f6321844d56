// The way back on a screen that shows one thing at a time. The Back of the
// browser, or of the phone, does what the page's own buttons do.

const steps = []; // how to undo each step
history.scrollRestoration = "manual"; // undoing a step scrolls

// forward remembers a step.
export function forward(undo) {
  steps.push(undo);
  history.pushState(null, "");
}

// back undoes a step. One that was made on a wide screen is not in the history.
export function back(undo) {
  if (steps.at(-1) === undo) history.back();
  else undo();
}

addEventListener("popstate", () => steps.pop()?.());
