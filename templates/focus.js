// One sample at a time, large, with its evidence: judged by one key, which leads to the next sample.

const makeFocus = (verdicts, cards, { found, closed }) => {
  const { make, command } = page;
  const dialog = document.getElementById("focus");
  const part = selector => dialog.querySelector(selector);
  const [place, progress, count, shown, correction] =
    ["h3", "progress", "output", ".focus-sample", ".correction"].map(part);
  let samples = []; // those that were found when the view was opened, in their order
  let at = 0;

  function open(sample) {
    samples = [...found()];
    at = Math.max(0, samples.indexOf(sample));
    if (!samples.length) return;
    dialog.showModal();
    show();
    place.focus();
  }

  function show() {
    const sample = samples[at], verdict = verdicts.get(sample)?.verdict;
    const judged = samples.filter(verdicts.get).length;
    place.textContent = `Sample ${at + 1} of ${samples.length}`;
    progress.max = samples.length;
    progress.value = judged;
    count.textContent = `${judged} of ${samples.length} judged`;
    // a copy: the card itself may be in the page behind
    const card = make("div", { className: cards.plain(sample).className });
    card.append(...cards.plain(sample).cloneNode(true).children);
    card.querySelector(".marks")?.remove();
    const evidence = card.querySelector("details");
    if (evidence) evidence.open = true;
    shown.replaceChildren(card);
    shown.scrollTop = 0;
    for (const name of verdicts.KINDS) part(`[name=${name}]`).ariaPressed = String(verdict === name);
    part("[name=back]").disabled = at === 0;
    part("[name=next]").disabled = at === samples.length - 1;
    part("[name=undo]").disabled = !verdicts.steps;
    correction.replaceChildren("If wrong, it should be ", select(sample));
  }

  function select(sample) {
    const element = cards.choice(sample);
    element.addEventListener("change", () => { if (verdicts.get(sample)?.verdict === "wrong") give("wrong"); });
    element.addEventListener("keydown", event => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      judge("wrong");
      place.focus();
    });
    return element;
  }

  function give(verdict) {
    const label = Number(correction.querySelector("select").value);
    verdicts.give([samples[at]], verdict, () => label);
    cards.refresh([samples[at]]);
  }

  // to the next sample without a verdict after this one, or else the first one, or else stay
  function judge(verdict) {
    give(verdict);
    const isOpen = i => !verdicts.get(samples[i]);
    const order = samples.map((_, i) => i);
    at = order.slice(at + 1).find(isOpen) ?? order.find(isOpen) ?? at;
    show();
  }

  function undo() {
    const changed = verdicts.undo();
    cards.refresh(changed);
    const back = samples.indexOf(changed[0]);
    if (back >= 0) at = back;
    show();
  }

  function act(what) {
    if (verdicts.KINDS.includes(what)) judge(what);
    else if (what === "undo") undo();
    else if (what === "choose") correction.querySelector("select").focus();
    else if (what === "close" || what === "focus") dialog.close();
    else if (what === "back" || what === "next") {
      at = Math.min(samples.length - 1, Math.max(0, at + (what === "next" ? 1 : -1)));
      show();
    }
  }

  for (const button of dialog.querySelectorAll("button[name]")) button.addEventListener("click", () => act(button.name));
  dialog.addEventListener("keydown", event => {
    // a key that is held down judges one sample, not all
    const what = event.repeat ? undefined : command(event);
    if (what) { event.preventDefault(); act(what); }
  });
  dialog.addEventListener("close", () => closed(samples[at]));
  return open;
};
