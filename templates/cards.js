// A sample as a card: those in the page, and those built from the data when they are first shown.

const makeCards = (data, verdicts, ranks) => {
  const { short, make, name, file } = page;
  const { classes, kinds, pictures, samples } = data;
  const coarse = new Set(data.coarse);
  const get = id => document.getElementById(id);
  const cards = new Map([...get("cards").children].map((card, place) => [samples[place], card]));
  let groups = 0;

  function picture(place, alt) {
    const element = make("img", { src: pictures[place], alt });
    if (coarse.has(place)) element.className = "coarse";
    return element;
  }

  // the card without a place for verdicts
  function plain(sample) {
    if (!cards.has(sample)) cards.set(sample, build(sample));
    return cards.get(sample);
  }

  function card(sample) {
    const found = plain(sample);
    if (!found.querySelector(".marks")) mark(sample, found);
    return found;
  }

  function build(sample) {
    const card = make("li", { className: `card ${sample.form ?? "none"}` });
    card.append(get("blank-card").content.cloneNode(true));
    const part = selector => card.querySelector(selector);
    const put = (selector, text) => part(selector).replaceChildren(name(text));
    const rank = ranks.get(sample) + 1;
    part(".rank").textContent = rank;
    part(".name").replaceChildren(file(sample.id));
    put(".given", classes[sample.given]);
    if (sample.suggested !== sample.given) put(".suggested", classes[sample.suggested]);
    else { part(".suggested").previousElementSibling.remove(); part(".suggested").remove(); }
    part(".suspicion b").textContent = sample.suspicion[1];
    part(".suspicion .meter i").style.width = `${100 * sample.suspicion[0]}%`;
    part(".kind").textContent = kinds[sample.kind];
    part(".kind").className = `kind ${kinds[sample.kind]}`;
    if (sample.twin) part(".twin span").replaceChildren(file(sample.twin)); else part(".twin").remove();
    if (sample.picture === undefined) part("header img").remove();
    else part("header img").replaceWith(picture(sample.picture, "the sample"));
    if (sample.said) part("blockquote").textContent = sample.said; else part("blockquote").remove();
    if (sample.numbers) fill(sample, part(".evidence"), rank); else part(".evidence").remove();
    return card;
  }

  function fill(sample, evidence, rank) {
    const numbers = evidence.querySelector(".numbers"), sides = evidence.querySelector(".sides");
    numbers.querySelector(".predicted").replaceChildren(name(sample.predicted));
    [...numbers.children].slice(1).forEach((line, i) => { line.lastElementChild.textContent = sample.numbers[i]; });
    if (sample.rows) {
      const own = rowTable(`Row of sample ${rank}`, sample.rows.slice(0, 1));
      evidence.before(make("div", { className: "own" }, own));
    }
    sides.append(...side("Opponents", "probably lower the margin of its label", "against", sample.against));
    sides.append(...side("Supporters", "probably raise the margin of its label", "with", sample.with));
    if (sample.rows?.length > 1)
      evidence.append(rowTable(`Rows of sample ${rank} and its neighbors`, sample.rows));
    if (sample.note) evidence.append(make("p", { className: "soft" }, sample.note));
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
    line.append(make("span", { className: "id" }, file([id, fullId])));
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

  // the place for a verdict, before the evidence: one Tab leads from a card's ticks to the evidence or the next card
  function mark(sample, card) {
    const before = card.querySelector(".marks"), marks = marksOf(sample);
    if (before) before.replaceWith(marks);
    else if (card.querySelector(".evidence")) card.querySelector(".evidence").before(marks);
    else card.append(marks);
  }

  function marksOf(sample) {
    const field = make("fieldset", { className: "marks" }, make("legend", {}, "The label is"));
    const group = `mark-${groups++}`, chosen = verdicts.get(sample);
    for (const verdict of verdicts.KINDS) {
      const input = make("input", { type: "radio", name: group, value: verdict });
      input.checked = chosen?.verdict === verdict;
      input.addEventListener("change", () => again(sample, verdict, verdict));
      field.append(make("label", { className: "choice" }, input, ` ${verdict}`));
    }
    if (chosen?.verdict === "wrong") {
      const select = choice(sample);
      select.addEventListener("change", () => verdicts.give([sample], "wrong", () => Number(select.value)));
      field.append(make("label", {}, "it should be ", select));
    }
    if (chosen) {
      const undo = make("button", { type: "button" }, "undo");
      undo.addEventListener("click", () => again(sample, "", "wrong"));
      field.append(undo);
    }
    return field;
  }

  function again(sample, verdict, focused) {
    verdicts.give([sample], verdict);
    refresh([sample]);
    cards.get(sample).querySelector(`input[value="${focused}"]`).focus();
  }

  // the classes that a sample's label can be corrected to
  function choice(sample) {
    const select = make("select");
    classes.forEach((label, i) => {
      if (i !== sample.given) select.append(make("option", { value: i }, short(label)));
    });
    select.value = verdicts.get(sample)?.label ?? verdicts.likely(sample);
    return select;
  }

  function refresh(changed) {
    for (const sample of changed)
      if (cards.get(sample)?.querySelector(".marks")) mark(sample, cards.get(sample));
  }

  const pictureOf = sample => {
    const shown = cards.get(sample)?.querySelector("header img")?.cloneNode();
    if (shown) return Object.assign(shown, { alt: "" });
    return sample.picture === undefined ? null : picture(sample.picture, "");
  };

  return { card, plain, choice, refresh, pictureOf };
};
