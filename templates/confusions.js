// The table of given and suggested labels: a press on a number shows its suspects.

const makeConfusions = chosen => {
  const table = document.getElementById("confusions");
  if (!table) return { has: () => true, clear: () => {}, words: () => "" };
  const { make } = page;
  const heads = new Set([...table.querySelectorAll("[data-class]")].map(head => Number(head.dataset.class)));
  let pressed = null;

  const parts = button => button.closest("[data-given]").dataset;
  const fits = (wanted, label) => (Number(wanted) < 0 ? !heads.has(label) : Number(wanted) === label);

  function has({ given, suggested }) {
    if (!pressed) return true;
    const wanted = parts(pressed);
    return given !== suggested && fits(wanted.given, given) && fits(wanted.suggested, suggested);
  }

  function press(button) {
    const before = pressed;
    clear();
    if (before !== button) {
      pressed = button;
      button.ariaPressed = "true";
    }
    chosen(pressed !== null);
  }

  function clear() {
    if (pressed) pressed.ariaPressed = "false";
    pressed = null;
  }

  for (const cell of document.querySelectorAll("[data-given]")) {
    const button = make("button", { type: "button", className: "plain", ariaPressed: "false", title: cell.title });
    button.append(...cell.childNodes);
    button.ariaLabel = cell.title;
    cell.append(button);
    button.addEventListener("click", () => press(button));
  }
  return { has, clear, words: () => (pressed ? parts(pressed).words : "") };
};
