"use strict";
// Asks about one label after the other, and keeps the answers in this browser until they are downloaded.
// Every string enters the page as text. Nothing is loaded, and only what the reader downloads leaves the page.

(() => {
  const { key, answers: ANSWERS, classes, questions } = JSON.parse(document.getElementById("review-data").textContent);
  const STORE = "cohaudit-review:" + key;
  const KEYS = { r: "right", w: "wrong", u: "unsure", b: "back", arrowleft: "back" };

  const get = id => document.getElementById(id);
  const [question, done, correction, panel] = ["question", "done", "correction", "panel"].map(get);
  const choice = correction.elements.true;

  // A text from the data is a string, or [short form, form to show on demand, original].
  const short = text => (typeof text === "string" ? text : text[0]);
  const whole = text => (typeof text === "string" ? text : text[2] ?? text[0]);

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

  // answers: input and label → what the file holds of it. Those of an earlier round about the same data stay.

  const answers = new Map();
  let forgotten = []; // a second press of the button restores what the first one cleared
  let isStored = true;
  let place = 0;
  const keyOf = ({ content, label }) => content + " " + label;
  const asked = ({ content, given, id }) => ({ content, label: whole(classes[given]), id: whole(id) });
  const answerOf = one => answers.get(keyOf(asked(one)));

  function recall() {
    let stored = [];
    try { stored = JSON.parse(localStorage.getItem(STORE)) ?? []; } catch { return; }
    if (!Array.isArray(stored)) return;
    for (const one of stored) {
      const texts = one && ["content", "label", "id", "answer"].every(part => typeof one[part] === "string");
      if (!texts || !/^[0-9a-f]{16}$/.test(one.content) || !ANSWERS.includes(one.answer)) continue;
      const { content, label, id, answer, true_label } = one;
      const known = answer === "wrong" && classes.some(c => whole(c) === true_label) && true_label !== label;
      answers.set(keyOf(one), { content, label, id, answer, ...(known && { true_label }) });
    }
  }

  function remember() {
    try {
      localStorage.setItem(STORE, JSON.stringify([...answers.values()]));
      isStored = true;
    } catch { isStored = false; }
  }

  function answer(said, true_label = "") {
    const one = asked(questions[place]);
    answers.set(keyOf(one), { ...one, answer: said, ...(true_label && { true_label }) });
    remember();
  }

  // what is shown

  function sampleOf(one) {
    if (one.picture) return [make("img", { src: one.picture, alt: "the sample", className: one.coarse ? "coarse" : "" })];
    if (one.text) return [make("blockquote", { dir: "auto" }, one.text)];
    if (!one.row) return [make("p", { className: "soft" }, "There is no preview of this sample: look it up by its id.")];
    const lines = one.row.map(([column, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name(column)), make("td", {}, name(value))));
    const table = make("table", { className: "rows" }, make("tbody", {}, ...lines));
    const scroll = make("div", { className: "scroll", role: "region", tabIndex: 0, ariaLabel: "Row of the sample" }, table);
    return one.more ? [scroll, make("p", { className: "soft" }, `The data has ${one.more} more columns.`)] : [scroll];
  }

  function show(focus = true) {
    const count = questions.filter(answerOf).length;
    get("progress").value = count;
    get("count").textContent = `${count} of ${questions.length} answered`;
    const said = ANSWERS.map(each => `${[...answers.values()].filter(one => one.answer === each).length} ${each}`);
    panel.querySelector("output").textContent = said.join(", ") + ".";
    get("storage").textContent = isStored
      ? "They stay in this browser until you download them."
      : "This browser does not save them: download them before you leave the page.";
    panel.elements.save.disabled = answers.size === 0;
    if (answers.size) forgotten = [];
    panel.elements.forget.textContent = forgotten.length ? "Restore" : "Forget all";
    panel.elements.forget.disabled = !answers.size && !forgotten.length;
    const ended = place >= questions.length;
    question.hidden = ended;
    done.hidden = !ended;
    correction.hidden = true;
    if (!ended) ask(questions[place]);
    if (focus) get(ended ? "all" : "asked").focus();
  }

  function ask(one) {
    get("place").textContent = `${place + 1} of ${questions.length}`;
    get("name").replaceChildren(name(one.id));
    get("sample").replaceChildren(...sampleOf(one));
    get("given").replaceChildren(name(classes[one.given]));
    for (const each of ANSWERS)
      question.querySelector(`[name=${each}]`).ariaPressed = String(answerOf(one)?.answer === each);
    question.querySelector("[name=back]").disabled = place === 0;
  }

  function correct() {
    const one = questions[place], known = answerOf(one)?.true_label;
    choice.replaceChildren(make("option", { value: "" }, "I do not know"));
    classes.forEach((label, i) => {
      if (i !== one.given) choice.append(make("option", { value: i, selected: whole(label) === known }, short(label)));
    });
    correction.hidden = false;
    choice.focus();
  }

  // the next question without an answer after this one, or else the first one, or else the end
  function next() {
    const open = i => !answerOf(questions[i]);
    const order = questions.map((_, i) => i);
    place = order.slice(place + 1).find(open) ?? order.find(open) ?? questions.length;
    show();
  }

  function act(what) {
    if (what === "back") {
      if (place > 0) { place -= 1; show(); }
    } else if (place < questions.length) {
      const known = what === "wrong" ? answerOf(questions[place])?.true_label : "";
      answer(what, known);
      if (what !== "wrong") { next(); return; }
      show(false);
      correct();
    }
  }

  // downloads

  function save() {
    const text = JSON.stringify({ data: key, answers: [...answers.values()] }, null, 1) + "\n";
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    make("a", { href: url, download: "reviewed.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  function forget() {
    const cleared = [...answers];
    answers.clear();
    for (const [each, one] of forgotten) answers.set(each, one);
    forgotten = cleared;
    remember();
    start();
  }

  function start() {
    place = questions.findIndex(one => !answerOf(one));
    if (place < 0) place = questions.length;
    show(false);
  }

  // start

  recall();
  panel.hidden = false;
  for (const button of document.querySelectorAll("#review button[name]"))
    button.addEventListener("click", () => act(button.name));
  correction.addEventListener("submit", event => {
    event.preventDefault();
    answer("wrong", choice.value === "" ? "" : whole(classes[Number(choice.value)]));
    next();
  });
  panel.addEventListener("submit", event => event.preventDefault());
  panel.elements.save.addEventListener("click", save);
  panel.elements.forget.addEventListener("click", forget);
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input")) return;
    const what = KEYS[event.key.toLowerCase()];
    if (what) { event.preventDefault(); act(what); }
  });
  choice.addEventListener("keydown", event => {
    if (event.key === "Enter") { event.preventDefault(); correction.requestSubmit(); }
  });
  start();
})();
