// Asks about one label after the other, and keeps the answers in this browser until they are downloaded.

(() => {
  const { short, whole, make, name, file, download, load, kept, command } = page;
  const { key, answers: ANSWERS, classes, questions } = JSON.parse(document.getElementById("review-data").textContent);
  const STORE = "cohaudit-review:" + key;
  const MOST_STEPS = 1000;

  const get = id => document.getElementById(id);
  const [question, done, correction, panel] = ["question", "done", "correction", "panel"].map(get);
  const choice = correction.elements.true;

  // answers: input and label → what the file holds of it. Those of an earlier round about the same data stay.

  const answers = new Map();
  const steps = []; // each: where an answer was given, its key and the answer before
  let forgotten = []; // a second press of the button restores what the first one cleared
  let isStored = true;
  let place = 0;
  const keyOf = ({ content, label }) => content + " " + label;
  const asked = ({ content, given, id }) => ({ content, label: whole(classes[given]), id: whole(id) });
  const answerOf = one => answers.get(keyOf(asked(one)));

  function recall() {
    const stored = load(STORE);
    if (!Array.isArray(stored)) return;
    for (const one of stored) {
      const texts = one && ["content", "label", "id", "answer"].every(part => typeof one[part] === "string");
      if (!texts || !/^[0-9a-f]{16}$/.test(one.content) || !ANSWERS.includes(one.answer)) continue;
      const { content, label, id, answer, true_label } = one;
      const known = answer === "wrong" && classes.some(c => whole(c) === true_label) && true_label !== label;
      answers.set(keyOf(one), { content, label, id, answer, ...(known && { true_label }) });
    }
  }

  const remember = () => { isStored = page.save(STORE, [...answers.values()]); };

  function answer(said, true_label) {
    const key = keyOf(asked(questions[place]));
    steps.push([place, key, answers.get(key)]);
    if (steps.length > MOST_STEPS) steps.shift();
    put(said, true_label);
  }

  function put(said, true_label = "") {
    const one = asked(questions[place]);
    answers.set(keyOf(one), { ...one, answer: said, ...(true_label && { true_label }) });
    remember();
  }

  // take the last answer back, and ask its question again
  function undo() {
    if (!steps.length) return;
    const [where, key, before] = steps.pop();
    if (before) answers.set(key, before); else answers.delete(key);
    place = where;
    remember();
    show();
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
    get("count").textContent = `${count} of the ${questions.length} labels that tell most`;
    const said = ANSWERS.map(each => `${[...answers.values()].filter(one => one.answer === each).length} ${each}`);
    panel.querySelector("output").textContent = said.join(", ") + ".";
    get("storage").textContent = kept(isStored);
    panel.elements.save.disabled = answers.size === 0;
    if (answers.size) forgotten = [];
    panel.elements.forget.textContent = forgotten.length ? "Restore" : "Forget all";
    panel.elements.forget.disabled = !answers.size && !forgotten.length;
    const ended = place >= questions.length;
    question.hidden = ended;
    for (const button of document.querySelectorAll("#review [name=undo]")) button.disabled = !steps.length;
    done.hidden = !ended;
    correction.hidden = true;
    if (!ended) ask(questions[place]);
    if (focus) get(ended ? "all" : "asked").focus();
  }

  function ask(one) {
    get("place").textContent = `${place + 1} of ${questions.length}`;
    get("name").replaceChildren(file(one.id));
    get("sample").replaceChildren(...sampleOf(one));
    get("given").replaceChildren(name(classes[one.given]));
    for (const each of ANSWERS)
      question.querySelector(`[name=${each}]`).ariaPressed = String(answerOf(one)?.answer === each);
    question.querySelector("[name=back]").disabled = place === 0;
    question.querySelector("[name=next]").disabled = place === questions.length - 1;
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
    if (what === "undo") {
      undo();
    } else if (what === "back" || what === "next") {
      const to = place + (what === "next" ? 1 : -1);
      if (to >= 0 && to < questions.length) { place = to; show(); }
    } else if (ANSWERS.includes(what) && place < questions.length) {
      const known = what === "wrong" ? answerOf(questions[place])?.true_label : "";
      answer(what, known);
      if (what !== "wrong") { next(); return; }
      show(false);
      correct();
    }
  }

  // downloads

  function save() {
    download("reviewed.json", JSON.stringify({ data: key, answers: [...answers.values()] }, null, 1) + "\n");
  }

  function forget() {
    const cleared = [...answers];
    answers.clear();
    for (const [each, one] of forgotten) answers.set(each, one);
    forgotten = cleared;
    steps.length = 0;
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
    // naming the right label is part of the same step: undo takes both back
    put("wrong", choice.value === "" ? "" : whole(classes[Number(choice.value)]));
    next();
  });
  panel.addEventListener("submit", event => event.preventDefault());
  panel.elements.save.addEventListener("click", save);
  panel.elements.forget.addEventListener("click", forget);
  document.addEventListener("keydown", event => {
    // a key that is held down answers one question, not all
    const what = event.repeat ? undefined : command(event);
    if (what) { event.preventDefault(); act(what); }
  });
  choice.addEventListener("keydown", event => {
    if (event.key === "Enter") { event.preventDefault(); correction.requestSubmit(); }
  });
  start();
})();
