"use strict";
// What the scripts of the report and of the review share.
// Every string enters a page as text. Nothing is loaded, and only what the reader downloads leaves the page.

const page = (() => {
  // A text from the data is a string, or [short form, form to show on demand, original].
  const short = text => (typeof text === "string" ? text : text[0]);
  const whole = text => (typeof text === "string" ? text : text[2] ?? text[0]);

  const FILE_END = /[A-Za-z0-9_-]{0,5}\.[A-Za-z0-9]{1,5}$/;
  const KEYS = {
    w: "wrong", r: "right", u: "unsure", z: "undo",
    n: "next", arrowright: "next", b: "back", arrowleft: "back",
    c: "choose", f: "focus",
  };

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function name(text) {
    const element = make("bdi", {}, short(text));
    if (typeof text !== "string" && text[1]) element.title = text[1];
    return element;
  }

  // the name of a file: a line is never broken inside its extension
  function file(text) {
    const element = name(text), shown = short(text), end = FILE_END.exec(shown)?.[0] ?? "";
    element.replaceChildren(shown.slice(0, shown.length - end.length), make("span", { className: "end" }));
    if (end) element.lastChild.append(end);
    return element;
  }

  // As the rest of the page writes numbers: three digits, and no exponent such as e-7.
  function digits(value) {
    if (value === 0 || (value >= 1e-5 && value < 1e6)) {
      return value === 0 ? "0" : value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(value))));
    }
    const [mantissa, exponent] = value.toExponential(1).split("e");
    const raised = [...exponent.replace("+", "")].map(one => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(one)]);
    return `${mantissa} × 10${raised.join("")}`;
  }

  function download(file, text) {
    const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    make("a", { href: url, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // null for what was never stored, is damaged, or may not be read
  function load(key) {
    try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
  }

  function save(key, value) {
    try { localStorage.setItem(key, JSON.stringify(value)); } catch { return false; }
    return true;
  }

  const kept = isStored => isStored
    ? "They stay in this browser until you download them."
    : "This browser does not save them: download them before you leave the page.";

  // the command of a key; none while the reader writes or chooses, or for the browser's own shortcuts
  function command(event) {
    const FIELDS = "select, textarea, input:not([type=radio], [type=checkbox])";
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(FIELDS)) return undefined;
    return KEYS[event.key.toLowerCase()];
  }

  return { short, whole, make, name, file, digits, download, load, save, kept, command };
})();
