// The reader's verdicts on the report's samples: sample → {verdict, label: index of the correct class}, stored in
// this browser by class name: another audit of the same model and data may have other labels, or the classes in
// another order. Every change is one step that can be undone, be it of one sample or of a thousand.

const makeVerdicts = ({ audit, classes, samples }, changed) => {
  const { whole, load, save } = page;
  const KINDS = ["wrong", "right", "unsure"];
  const MOST_STEPS = 1000;
  const key = "cohaudit:" + audit;
  const named = new Map(classes.map((label, i) => [whole(label), i]));
  const given = new Map();
  const steps = []; // each: [sample, its verdict before] of all that one action changed
  let forgotten = []; // a second press of the button restores what the first one cleared
  let isStored = true;

  function recall() {
    const stored = load(key) ?? {};
    for (const sample of samples) {
      const found = Object.hasOwn(stored, whole(sample.id)) ? stored[whole(sample.id)] : null;
      if (!found || !KINDS.includes(found.verdict) || found.given !== whole(classes[sample.given])) continue;
      if (named.has(found.label)) given.set(sample, { verdict: found.verdict, label: named.get(found.label) });
    }
  }

  function remember() {
    isStored = save(key, Object.fromEntries([...given].map(([sample, { verdict, label }]) =>
      [whole(sample.id), { verdict, given: whole(classes[sample.given]), label: whole(classes[label]) }])));
    if (given.size) forgotten = [];
    changed();
  }

  // the suggested label; if that is the given one, the first other class, until the reader chooses
  const likely = ({ given, suggested }) =>
    suggested !== given ? suggested : Math.max(0, classes.findIndex((_, i) => i !== given));

  const put = (sample, verdict) => (verdict ? given.set(sample, verdict) : given.delete(sample));

  // give one verdict to samples, or none if it is empty; of wrong ones, `label` is the right class of each
  function give(judged, verdict, label = sample => given.get(sample)?.label ?? likely(sample)) {
    steps.push(judged.map(sample => [sample, given.get(sample)]));
    if (steps.length > MOST_STEPS) steps.shift();
    for (const sample of judged) put(sample, verdict && { verdict, label: label(sample) });
    remember();
  }

  // take the last step back, and return its samples
  function undo() {
    const step = steps.pop() ?? [];
    for (const [sample, before] of step) put(sample, before);
    remember();
    return step.map(([sample]) => sample);
  }

  function forget() {
    const cleared = [...given];
    given.clear();
    for (const [sample, verdict] of forgotten) given.set(sample, verdict);
    forgotten = cleared;
    steps.length = 0;
    remember();
  }

  const of = verdict => samples.filter(sample => given.get(sample)?.verdict === verdict);

  // JSON's escapes are valid in TOML, except for DEL and for lone surrogates, which TOML does not allow.
  const quoted = text => JSON.stringify(text.toWellFormed()).replaceAll("\x7f", "\\u007f");
  // as cohaudit/results/spreadsheets.py: no cell is a formula of a spreadsheet
  const isFormula = text => /^'*[=+\-@\t\r＝＋－＠]/.test(text) && !/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text);
  const csvCell = text => `"${isFormula(text) ? "'" : ""}${text.replaceAll('"', '""')}"`;

  function suppressions(reviewer, reason) {
    const seen = new Set();
    const entries = of("right").map(sample => {
      const label = whole(classes[sample.given]), once = sample.hash + label;
      if (seen.has(once)) return ""; // equal samples with one label are one entry
      seen.add(once);
      return "\n[[suppress]]\n" + [
        ["sample", sample.hash], ["label", label], ["id", whole(sample.id)], ["reviewer", reviewer], ["reason", reason],
      ].map(([key, value]) => `${key} = ${quoted(value)}\n`).join("");
    });
    return "# Suspects whose label was confirmed.\n" + entries.join("");
  }

  function fixes() {
    const lines = of("wrong").map(sample => {
      const { label } = given.get(sample);
      return [whole(sample.id), whole(classes[sample.given]), whole(classes[label])].map(csvCell).join(",") + "\n";
    });
    return "id,label,new_label\n" + lines.join("");
  }

  recall();
  return {
    KINDS, give, undo, forget, of, likely, suppressions, fixes,
    get: sample => given.get(sample),
    get size() { return given.size; },
    get steps() { return steps.length; },
    get forgotten() { return forgotten.length; },
    get isStored() { return isStored; },
  };
};
