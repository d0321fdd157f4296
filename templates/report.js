"use strict";
// The samples of the report: sorted, filtered, paged and judged, all within this page.
// Every string enters the page as text. Nothing is loaded, and only what the reader downloads leaves the page.

(() => {
  const source = document.getElementById("samples-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const { classes, kinds, pictures, samples } = data;
  const coarse = new Set(data.coarse);
  const CARDS_PER_PAGE = 24, ROWS_PER_PAGE = 100;
  const VERDICTS = ["wrong", "right", "unsure"];

  const get = id => document.getElementById(id);
  const [filters, shown, gallery, table, paging, panel] =
    ["filters", "shown", "cards", "sample-table", "paging", "verdicts"].map(get);
  const rows = table.querySelector("tbody");
  const headings = table.querySelectorAll("[data-order]");

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

  // As the rest of the page writes numbers: three digits, and no exponent such as e-7.
  function digits(value) {
    if (value === 0 || (value >= 1e-5 && value < 1e6)) {
      return value === 0 ? "0" : value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(value))));
    }
    const [mantissa, exponent] = value.toExponential(1).split("e");
    const raised = [...exponent.replace("+", "")].map(one => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(one)]);
    return `${mantissa} × 10${raised.join("")}`;
  }

  function picture(place, alt) {
    const element = make("img", { src: pictures[place], alt });
    if (coarse.has(place)) element.className = "coarse";
    return element;
  }

  // verdicts: sample → {verdict, label: index of the correct class}, stored in this browser by class name: another
  // audit of the same model and data may have other labels, or the classes in another order

  const key = "cohaudit:" + data.audit;
  const named = new Map(classes.map((label, i) => [whole(label), i]));
  let isStored = true;
  const verdicts = new Map();
  let forgotten = []; // a second press of the button restores what the first one cleared

  function recall() {
    let stored = {};
    try { stored = JSON.parse(localStorage.getItem(key)) ?? {}; } catch { return; }
    for (const sample of samples) {
      const found = Object.hasOwn(stored, whole(sample.id)) ? stored[whole(sample.id)] : null;
      if (!found || !VERDICTS.includes(found.verdict) || found.given !== whole(classes[sample.given])) continue;
      if (named.has(found.label)) verdicts.set(sample, { verdict: found.verdict, label: named.get(found.label) });
    }
  }

  function remember() {
    const stored = Object.fromEntries([...verdicts].map(([sample, { verdict, label }]) =>
      [whole(sample.id), { verdict, given: whole(classes[sample.given]), label: whole(classes[label]) }]));
    try {
      localStorage.setItem(key, JSON.stringify(stored));
      isStored = true;
    } catch { isStored = false; }
    showCounts();
  }

  // the suggested label; if that is the given one, the first other class, until the reader chooses
  const likely = ({ given, suggested }) =>
    suggested !== given ? suggested : Math.max(0, classes.findIndex((_, i) => i !== given));

  function judge(sample, verdict) {
    if (verdict) verdicts.set(sample, { verdict, label: verdicts.get(sample)?.label ?? likely(sample) });
    else verdicts.delete(sample);
    remember();
  }

  const judged = verdict => samples.filter(sample => verdicts.get(sample)?.verdict === verdict);

  function showCounts() {
    const counts = VERDICTS.map(verdict => `${judged(verdict).length} ${verdict}`);
    panel.querySelector("output").textContent = counts.join(", ");
    get("storage").textContent = isStored
      ? "They stay in this browser until you download them."
      : "This browser does not save them: download them before you leave the page.";
    panel.elements.suppressions.disabled = judged("right").length === 0;
    panel.elements.fixes.disabled = judged("wrong").length === 0;
    if (verdicts.size) forgotten = [];
    panel.elements.forget.textContent = forgotten.length ? "Restore" : "Forget all";
    panel.elements.forget.disabled = !verdicts.size && !forgotten.length;
  }

  // cards: those in the page, and those built from the data when they are first shown

  const cards = new Map([...gallery.children].map((card, place) => [samples[place], card]));
  let marks = 0;

  function cardOf(sample) {
    if (!cards.has(sample)) cards.set(sample, build(sample));
    const card = cards.get(sample);
    if (!card.querySelector(".marks")) card.append(marksOf(sample));
    return card;
  }

  function build(sample) {
    const card = make("li", { className: `card ${sample.form ?? "none"}` });
    card.append(get("blank-card").content.cloneNode(true));
    const part = selector => card.querySelector(selector);
    const put = (selector, text) => part(selector).replaceChildren(name(text));
    const rank = ranks.get(sample) + 1;
    part(".rank").textContent = rank;
    put(".name", sample.id);
    put(".given", classes[sample.given]);
    if (sample.suggested !== sample.given) put(".suggested", classes[sample.suggested]);
    else { part(".suggested").previousElementSibling.remove(); part(".suggested").remove(); }
    part(".suspicion b").textContent = sample.suspicion[1];
    part(".suspicion .meter i").style.width = `${100 * sample.suspicion[0]}%`;
    part(".kind").textContent = kinds[sample.kind];
    part(".kind").className = `kind ${kinds[sample.kind]}`;
    const numbers = part(".numbers");
    if (sample.numbers) {
      put(".predicted", sample.predicted);
      [...numbers.children].slice(1).forEach((line, i) => { line.lastElementChild.textContent = sample.numbers[i]; });
    } else numbers.remove();
    if (sample.twin) put(".twin span", sample.twin); else part(".twin").remove();
    if (sample.picture === undefined) part("header img").remove();
    else part("header img").replaceWith(picture(sample.picture, "the sample"));
    if (sample.said) part("blockquote").textContent = sample.said; else part("blockquote").remove();
    const sides = part(".sides");
    if (sample.rows) sides.before(make("div", { className: "own" }, rowTable(`Row of sample ${rank}`, sample.rows.slice(0, 1))));
    sides.append(...side("Opponents", "gradients point against it", "against", sample.against));
    sides.append(...side("Supporters", "gradients point the same way", "with", sample.with));
    if (sample.rows?.length > 1) {
      const compared = rowTable(`Rows of sample ${rank} and its neighbors`, sample.rows);
      card.append(make("details", {}, make("summary", {}, "Compare the rows"), compared));
    }
    if (sample.note) card.append(make("p", { className: "soft" }, sample.note));
    return card;
  }

  function side(title, hint, kind, members) {
    if (!members?.length) return [];
    const heading = make("h4", {}, title + " ", make("span", {}, hint));
    return [make("div", { className: `neighbors ${kind}` }, heading, make("ul", {}, ...members.map(neighbor)))];
  }

  function neighbor([place, cosine, duplicate]) {
    const [id, fullId, label, fullLabel, seen, words, suspect] = data.neighbors[place];
    const line = make("li");
    if (seen >= 0) line.append(picture(seen, ""));
    line.append(make("span", { className: "cosine" }, cosine));
    line.append(make("span", { className: "label" }, name([label, fullLabel])));
    if (suspect) line.append(make("span", { className: "too", title: "also a suspect" }, "suspect"));
    if (duplicate) {
      const title = "looks nearly the same to every layer";
      line.append(make("span", { className: "too", title }, "near-duplicate"));
    }
    line.append(make("span", { className: "id" }, name([id, fullId])));
    if (words) line.append(make("span", { className: "said" }, name(words)));
    return line;
  }

  function rowTable(label, lines) {
    const heads = data.columns.map(column => make("th", { scope: "col", className: "number" }, name(column)));
    const body = lines.map(([role, label, cosine, cells]) => {
      const head = make("th", { scope: "row" }, make("span", { className: "label" }, name(label)));
      if (cosine) head.append(" ", make("span", { className: "cosine" }, cosine));
      const line = make("tr", { className: ["suspect", "opponent", "supporter"][role] }, head);
      line.append(...cells.map(cell => make("td", { className: "number" }, name(cell))));
      return line;
    });
    const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "label"), ...heads));
    const around = make("div", { className: "scroll", role: "region", tabIndex: 0, ariaLabel: label });
    around.append(make("table", { className: "rows" }, head, make("tbody", {}, ...body)));
    return around;
  }

  function marksOf(sample) {
    const field = make("fieldset", { className: "marks" }, make("legend", {}, "The label is"));
    const group = `mark-${marks++}`;
    for (const verdict of VERDICTS) {
      const input = make("input", { type: "radio", name: group, value: verdict });
      input.checked = verdicts.get(sample)?.verdict === verdict;
      input.addEventListener("change", () => again(sample, field, verdict, verdict));
      field.append(make("label", { className: "choice" }, input, ` ${verdict}`));
    }
    if (verdicts.get(sample)?.verdict === "wrong") field.append(correction(sample));
    if (verdicts.has(sample)) {
      const undo = make("button", { type: "button" }, "undo");
      undo.addEventListener("click", () => again(sample, field, "", "wrong"));
      field.append(undo);
    }
    return field;
  }

  function again(sample, field, verdict, focused) {
    judge(sample, verdict);
    const marks = marksOf(sample);
    field.replaceWith(marks);
    marks.querySelector(`input[value="${focused}"]`).focus();
  }

  function correction(sample) {
    const select = make("select");
    classes.forEach((label, i) => {
      if (i !== sample.given) select.append(make("option", { value: i }, short(label)));
    });
    const chosen = verdicts.get(sample);
    select.value = chosen.label;
    select.addEventListener("change", () => { chosen.label = Number(select.value); remember(); });
    return make("label", {}, "it should be ", select);
  }

  // which samples match, in which order, and which page of them is shown

  const state = { found: samples, page: 0 };
  const ORDERS = {
    suspicion: (a, b) => (b.suspicion[0] ?? -1) - (a.suspicion[0] ?? -1),
    loss: (a, b) => (b.loss ?? -1) - (a.loss ?? -1),
    margin: (a, b) => (a.margin ?? 9) - (b.margin ?? 9),
    given: (a, b) => a.given - b.given || ORDERS.suspicion(a, b),
    id: (a, b) => collator.compare(whole(a.id), whole(b.id)),
  };
  const FALLING = new Set(["suspicion", "loss"]);
  const collator = new Intl.Collator(undefined, { numeric: true });
  const ranks = new Map(samples.map((sample, i) => [sample, i]));
  const words = new Map(samples.map(sample => [sample, [
    whole(sample.id), whole(classes[sample.given]), whole(classes[sample.suggested]), sample.said,
  ].join("\n").toLowerCase()]));

  function find() {
    const wanted = Object.fromEntries(new FormData(filters));
    const text = wanted.text.trim().toLowerCase(), least = Number(wanted.least) || 0;
    const class_ = wanted.class === "" ? -1 : Number(wanted.class);
    state.found = samples.filter(sample =>
      (!text || words.get(sample).includes(text)) &&
      (class_ < 0 || sample.given === class_ || sample.suggested === class_) &&
      (!wanted.kind || kinds[sample.kind] === wanted.kind) &&
      (sample.suspicion[0] ?? 0) >= least &&
      (!wanted.verdict || (verdicts.get(sample)?.verdict ?? "none") === wanted.verdict));
    const order = ORDERS[wanted.order];
    const turn = wanted.rising ? -1 : 1;
    state.found.sort((a, b) => turn * (order(a, b) || ranks.get(a) - ranks.get(b)));
    state.page = 0;
    markHeadings();
    show();
  }

  const counted = kinds.map((kind, i) => `${samples.filter(s => s.kind === i).length} ${kind}`).join(", ");

  function show() {
    const asTable = filters.elements.view.value === "table";
    const size = asTable ? ROWS_PER_PAGE : CARDS_PER_PAGE;
    const pages = Math.max(1, Math.ceil(state.found.length / size));
    state.page = Math.min(state.page, pages - 1);
    const now = state.found.slice(state.page * size, (state.page + 1) * size);
    gallery.hidden = asTable;
    table.hidden = !asTable;
    gallery.replaceChildren(...(asTable ? [] : now.map(cardOf)));
    rows.replaceChildren(...(asTable ? now.map(line) : []));
    const first = state.page * size + 1;
    shown.textContent = now.length
      ? `${first} to ${first + now.length - 1} of ${state.found.length} samples` +
        (state.found.length < samples.length ? ` (${samples.length} without a filter)` : `: ${counted}`)
      : `None of the ${samples.length} samples matches.`;
    paging.hidden = pages === 1;
    paging.querySelector("span").textContent = `page ${state.page + 1} of ${pages}`;
    paging.querySelector("[name=back]").disabled = state.page === 0;
    paging.querySelector("[name=on]").disabled = state.page === pages - 1;
  }

  function line(sample) {
    const open = make("button", { type: "button", className: "plain", ariaExpanded: "false" }, name(sample.id));
    const shown = cards.get(sample)?.querySelector("header img")?.cloneNode();
    if (shown) open.prepend(Object.assign(shown, { alt: "" }));
    else if (sample.picture !== undefined) open.prepend(picture(sample.picture, ""));
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
      const list = make("ol", { className: "gallery" }, cardOf(sample));
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

  function download(file, text) {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // JSON's escapes are valid in TOML, except for DEL and for lone surrogates, which TOML does not allow.
  const quoted = text => JSON.stringify(text.toWellFormed()).replaceAll("\x7f", "\\u007f");
  const csvCell = text => `"${text.replaceAll('"', '""')}"`;

  function suppressions() {
    const { reviewer, reason } = panel.elements;
    for (const field of [reviewer, reason]) {
      field.setCustomValidity(field.value.trim() ? "" : `suppressions.toml needs a ${field.name} for each sample`);
      if (!field.reportValidity()) return;
    }
    const seen = new Set();
    const entries = judged("right").map(sample => {
      const label = whole(classes[sample.given]), once = sample.hash + label;
      if (seen.has(once)) return ""; // equal samples with one label are one entry
      seen.add(once);
      return "\n[[suppress]]\n" + [
        ["sample", sample.hash], ["label", label], ["id", whole(sample.id)],
        ["reviewer", reviewer.value.trim()], ["reason", reason.value.trim()],
      ].map(([key, value]) => `${key} = ${quoted(value)}\n`).join("");
    });
    download("suppressions.toml", "# Suspects whose label was confirmed.\n" + entries.join(""));
  }

  function fixes() {
    const lines = judged("wrong").map(sample => {
      const { label } = verdicts.get(sample);
      return [whole(sample.id), whole(classes[sample.given]), whole(classes[label])].map(csvCell).join(",") + "\n";
    });
    download("fixes.csv", "id,label,new_label\n" + lines.join(""));
  }

  function forget() {
    const cleared = [...verdicts];
    verdicts.clear();
    for (const [sample, verdict] of forgotten) verdicts.set(sample, verdict);
    forgotten = cleared;
    for (const card of cards.values()) card.querySelector(".marks")?.remove();
    remember();
    show();
  }

  // start

  const choice = filters.elements.class;
  choice.append(...classes.map((label, i) => make("option", { value: i }, short(label))));
  recall();
  for (const part of [filters, panel]) part.hidden = false;
  filters.addEventListener("submit", event => event.preventDefault());
  panel.addEventListener("submit", event => event.preventDefault());
  filters.addEventListener("input", find);
  filters.addEventListener("reset", () => setTimeout(find));
  for (const heading of headings) heading.addEventListener("click", () => orderBy(heading.dataset.order));
  const turn = by => { state.page += by; show(); shown.focus(); };
  paging.querySelector("[name=back]").addEventListener("click", () => turn(-1));
  paging.querySelector("[name=on]").addEventListener("click", () => turn(1));
  for (const field of [panel.elements.reviewer, panel.elements.reason])
    field.addEventListener("input", () => field.setCustomValidity(""));
  panel.elements.suppressions.addEventListener("click", suppressions);
  panel.elements.fixes.addEventListener("click", fixes);
  panel.elements.forget.addEventListener("click", forget);
  showCounts();
  find();
})();
