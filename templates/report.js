// The samples of the report: sorted, filtered, paged and judged, all within this page.

(() => {
  const source = document.getElementById("samples-data");
  if (!source) return;
  const { short, whole, make, name, file, digits, download, kept, command } = page;
  const data = JSON.parse(source.textContent);
  const { classes, kinds, totals, samples } = data;
  const count = number => number.toLocaleString("en-US");
  const CARDS_PER_PAGE = 24, ROWS_PER_PAGE = 100;

  const get = id => document.getElementById(id);
  const [filters, judging, shown, gallery, table, paging, panel] =
    ["filters", "judging", "shown", "cards", "sample-table", "paging", "verdicts"].map(get);
  const rows = table.querySelector("tbody");
  const headings = table.querySelectorAll("[data-order]");

  // which samples match, in which order, and which page of them is shown

  const state = { found: samples, page: 0 };
  const collator = new Intl.Collator(undefined, { numeric: true });
  const ranks = new Map(samples.map((sample, i) => [sample, i]));
  const ORDERS = {
    suspicion: (a, b) => (b.suspicion[0] ?? -1) - (a.suspicion[0] ?? -1),
    loss: (a, b) => (b.loss ?? -1) - (a.loss ?? -1),
    margin: (a, b) => (a.margin ?? 9) - (b.margin ?? 9),
    given: (a, b) => a.given - b.given || ORDERS.suspicion(a, b),
    id: (a, b) => collator.compare(whole(a.id), whole(b.id)),
  };
  const FALLING = new Set(["suspicion", "loss"]);
  const words = new Map(samples.map(sample => [sample, [
    whole(sample.id), whole(classes[sample.given]), whole(classes[sample.suggested]), sample.said,
  ].join("\n").toLowerCase()]));
  const counted = kinds.map((kind, i) => {
    const listed = samples.filter(sample => sample.kind === i).length;
    return listed < totals[i] ? `${count(listed)} of ${count(totals[i])} ${kind}` : `${count(listed)} ${kind}`;
  }).join(", ");

  const verdicts = makeVerdicts(data, () => showCounts());
  const cards = makeCards(data, verdicts, ranks);
  const focus = makeFocus(verdicts, cards, { found: () => state.found, closed: sample => { show(); turnTo(sample); } });
  const confusions = makeConfusions(isPressed => {
    if (isPressed) filters.elements.kind.value = "mislabeled";
    find();
  });

  function find() {
    const wanted = Object.fromEntries(new FormData(filters));
    const text = wanted.text.trim().toLowerCase(), least = Number(wanted.least) || 0;
    const class_ = wanted.class === "" ? -1 : Number(wanted.class);
    state.found = samples.filter(sample =>
      (!text || words.get(sample).includes(text)) &&
      (class_ < 0 || sample.given === class_ || sample.suggested === class_) &&
      (!wanted.kind || kinds[sample.kind] === wanted.kind) &&
      (sample.suspicion[0] ?? 0) >= least &&
      (!wanted.verdict || (verdicts.get(sample)?.verdict ?? "none") === wanted.verdict) &&
      confusions.has(sample));
    const order = ORDERS[wanted.order];
    const turn = wanted.rising ? -1 : 1;
    state.found.sort((a, b) => turn * (order(a, b) || ranks.get(a) - ranks.get(b)));
    state.page = 0;
    markHeadings();
    show();
    showCounts();
  }

  const isTable = () => filters.elements.view.value === "table";
  const size = () => (isTable() ? ROWS_PER_PAGE : CARDS_PER_PAGE);

  function show() {
    const pages = Math.max(1, Math.ceil(state.found.length / size()));
    state.page = Math.min(state.page, pages - 1);
    const now = state.found.slice(state.page * size(), (state.page + 1) * size());
    gallery.hidden = isTable();
    table.hidden = !isTable();
    gallery.replaceChildren(...(isTable() ? [] : now.map(cards.card)));
    rows.replaceChildren(...(isTable() ? now.map(line) : []));
    const first = state.page * size() + 1;
    const only = confusions.words() && `, ${confusions.words()}`;
    shown.textContent = now.length
      ? `${count(first)} to ${count(first + now.length - 1)} of ${count(state.found.length)} samples${only}` +
        (state.found.length < samples.length ? ` (${count(samples.length)} without a filter)` : `: ${counted}`)
      : `None of the ${count(samples.length)} samples matches${only}.`;
    paging.hidden = pages === 1;
    paging.querySelector("span").textContent = `page ${state.page + 1} of ${pages}`;
    paging.querySelector("[name=back]").disabled = state.page === 0;
    paging.querySelector("[name=on]").disabled = state.page === pages - 1;
  }

  // verdicts: how many, and of how many the suggestions would be accepted

  function showCounts() {
    const counts = verdicts.KINDS.map(verdict => `${verdicts.of(verdict).length} ${verdict}`);
    panel.querySelector("output").textContent = counts.join(", ");
    get("storage").textContent = kept(verdicts.isStored);
    panel.elements.suppressions.disabled = verdicts.of("right").length === 0;
    panel.elements.fixes.disabled = verdicts.of("wrong").length === 0;
    panel.elements.forget.textContent = verdicts.forgotten ? "Restore" : "Forget all";
    panel.elements.forget.disabled = !verdicts.size && !verdicts.forgotten;
    judging.elements.undo.disabled = !verdicts.steps;
    judging.elements.focus.disabled = !state.found.length;
    judging.querySelector("progress").value = verdicts.size;
    judging.querySelector("output").textContent = `${count(verdicts.size)} of ${count(samples.length)} judged`;
    const accepted = acceptable();
    judging.elements.accept.textContent = `Mark ${count(accepted.length)} as wrong`;
    judging.elements.accept.disabled = !accepted.length;
    const expected = accepted.reduce((sum, sample) => sum + sample.suspicion[0], 0) / accepted.length;
    get("expected").textContent = accepted.length
      ? `On average, their labels are wrong with a probability of ${Math.floor(1000 * expected) / 10}%.`
      : "No sample shown without a verdict has such a suspicion and another label suggested.";
  }

  // of the samples that the filters leave, those without a verdict whose suggested label is likely enough
  function acceptable() {
    const { value } = judging.elements.bound;
    if (value === "") return [];
    return state.found.filter(sample => !verdicts.get(sample) && sample.suggested !== sample.given &&
      sample.suspicion[0] !== null && sample.suspicion[0] >= Number(value));
  }

  function accept() {
    const accepted = acceptable();
    verdicts.give(accepted, "wrong", sample => sample.suggested);
    cards.refresh(accepted);
    show();
  }

  function undo() {
    const changed = verdicts.undo();
    cards.refresh(changed);
    show();
    if (changed.length === 1) turnTo(changed[0]);
  }

  function forget() {
    verdicts.forget();
    cards.refresh(samples);
    show();
  }

  // keys in a card: its verdict, which leads to the next card, or the way to another one

  function turnTo(sample) {
    const place = state.found.indexOf(sample);
    if (place < 0 || isTable()) return;
    if (Math.floor(place / size()) !== state.page) {
      state.page = Math.floor(place / size());
      show();
    }
    const marks = cards.card(sample).querySelector(".marks");
    (marks.querySelector("input:checked") ?? marks.querySelector("input")).focus();
  }

  function press(event) {
    const card = event.target.closest("#cards > .card"), what = event.repeat ? undefined : command(event);
    // arrows choose among the ticks of a card
    if (!card || !what || event.key.startsWith("Arrow") || event.target.closest(".scroll")) return;
    event.preventDefault();
    const place = state.page * size() + [...gallery.children].indexOf(card), sample = state.found[place];
    if (what === "focus") { focus(sample); return; }
    if (what === "undo") { undo(); return; }
    if (verdicts.KINDS.includes(what)) {
      verdicts.give([sample], what);
      cards.refresh([sample]);
    } else if (what === "choose") {
      card.querySelector(".marks select")?.focus();
      return;
    }
    turnTo(state.found[place + (what === "back" ? -1 : 1)] ?? sample);
  }

  // the table

  function line(sample) {
    const open = make("button", { type: "button", className: "plain", ariaExpanded: "false" }, file(sample.id));
    const picture = cards.pictureOf(sample);
    if (picture) open.prepend(picture);
    const row = make("tr", {}, make("th", { scope: "row" }, open));
    const cell = (content, className = "") => row.append(make("td", { className }, content));
    cell(name(classes[sample.given]));
    cell(sample.suggested === sample.given ? "" : name(classes[sample.suggested]));
    cell(kinds[sample.kind]);
    cell(sample.suspicion[1], "number");
    cell(sample.loss === null ? "–" : digits(sample.loss), "number");
    cell(sample.margin === null ? "–" : sample.margin.toFixed(2), "number");
    cell(verdicts.get(sample)?.verdict ?? "");
    open.addEventListener("click", () => toggle(sample, row, open));
    return row;
  }

  function toggle(sample, row, open) {
    const isOpen = open.ariaExpanded === "true";
    open.ariaExpanded = String(!isOpen);
    if (isOpen) {
      row.nextElementSibling.remove();
      row.lastElementChild.textContent = verdicts.get(sample)?.verdict ?? "";
    } else {
      const list = make("ol", { className: "gallery" }, cards.card(sample));
      row.after(make("tr", { className: "opened" }, make("td", { colSpan: 8 }, list)));
    }
  }

  // a heading sorts by its column, and reverses the order when it already does
  function orderBy(order) {
    const { order: chosen, rising } = filters.elements;
    rising.checked = chosen.value === order && !rising.checked;
    chosen.value = order;
    find();
  }

  function markHeadings() {
    for (const heading of headings) {
      const own = heading.dataset.order === filters.elements.order.value;
      const falls = FALLING.has(heading.dataset.order) !== filters.elements.rising.checked;
      heading.parentElement.ariaSort = own ? (falls ? "descending" : "ascending") : "none";
    }
  }

  // downloads

  function suppressions() {
    const { reviewer, reason } = panel.elements;
    for (const field of [reviewer, reason]) {
      field.setCustomValidity(field.value.trim() ? "" : `suppressions.toml needs a ${field.name} for each sample`);
      if (!field.reportValidity()) return;
    }
    download("suppressions.toml", verdicts.suppressions(reviewer.value.trim(), reason.value.trim()));
  }

  // start

  filters.elements.class.append(...classes.map((label, i) => make("option", { value: i }, short(label))));
  judging.querySelector("progress").max = samples.length;
  for (const part of [filters, judging, panel]) {
    part.hidden = false;
    part.addEventListener("submit", event => event.preventDefault());
  }
  filters.addEventListener("input", find);
  filters.addEventListener("reset", () => { confusions.clear(); setTimeout(find); });
  for (const heading of headings) heading.addEventListener("click", () => orderBy(heading.dataset.order));
  const turn = by => { state.page += by; show(); shown.focus(); };
  paging.querySelector("[name=back]").addEventListener("click", () => turn(-1));
  paging.querySelector("[name=on]").addEventListener("click", () => turn(1));
  judging.elements.focus.addEventListener("click", () => focus(state.found.find(one => !verdicts.get(one))));
  judging.elements.bound.addEventListener("input", showCounts);
  judging.elements.accept.addEventListener("click", accept);
  judging.elements.undo.addEventListener("click", undo);
  gallery.addEventListener("keydown", press);
  gallery.addEventListener("click", event => {
    const card = event.target.matches(".card > header img") && event.target.closest("#cards > .card");
    if (card) focus(state.found[state.page * size() + [...gallery.children].indexOf(card)]);
  });
  for (const field of [panel.elements.reviewer, panel.elements.reason])
    field.addEventListener("input", () => field.setCustomValidity(""));
  panel.elements.suppressions.addEventListener("click", suppressions);
  panel.elements.fixes.addEventListener("click", () => download("fixes.csv", verdicts.fixes()));
  panel.elements.forget.addEventListener("click", forget);
  find();
})();
