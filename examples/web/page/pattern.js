// The patterns of JSON Schema: regular expressions that may match anywhere.

// compile returns undefined for a pattern that this page does not check: one that
// the browser does not know, or that could take for ever. The server checks it.
export function compile(pattern) {
  if (typeof pattern !== "string" || mayTakeForEver(pattern)) return undefined;
  for (const flags of ["u", ""]) {
    try {
      return new RegExp(pattern, flags);
    } catch {
      // Perhaps without Unicode.
    }
  }
}

const repeated = /[+*]|\{\d+,\}/;

// mayTakeForEver reports whether a part that repeats is itself repeated, as in
// (a+)+. For some texts such a pattern takes a time that doubles with each letter.
function mayTakeForEver(pattern) {
  let rest = pattern.replace(/\\.|\[(?:\\.|[^\]])*\]/gs, "x");
  for (;;) {
    const group = /\((?:\?[:=!])?([^()]*)\)(?=([+*]|\{\d+,\})?)/.exec(rest);
    if (!group) return false;
    const repeats = repeated.test(group[1]);
    if (repeats && group[2]) return true;
    rest = rest.slice(0, group.index) + (repeats ? "x*" : "x") + rest.slice(group.index + group[0].length);
  }
}
