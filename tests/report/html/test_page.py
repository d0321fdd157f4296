"""The report: what each kind of audit shows, that names stay text, that nothing leaves the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from support.audits import HOSTILE, gate, make_audit
from support.page import Page, html_of, page_of, render_undrawn, undrawn_html_of, undrawn_page_of, words_of

from cohaudit.errors import CohauditError
from cohaudit.report import render_html, write_report
from cohaudit.report.commands import Places
from cohaudit.report.html.view import _listing
from cohaudit.report.html.view._actions import build_actions
from cohaudit.report.html.view._classes import build_classes
from cohaudit.report.words import signed
from cohaudit.results import AuditResults, Coherence, Estimate, Preview, Risk, Skipped, WrongLabels, by_gap
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.read import read_audit

SECTIONS = (
    *("verdict", "actions", "suspects", "classes", "depth", "theory"),
    *("method", "certificate", "skipped"),
)
THEORY = {"theory", *(f"audit-{field.name}" for field in fields(AuditResults))}
PLACES = Places("out/audit.json", "data/train.npz")
VARIANTS: dict[str, dict[str, Any]] = {
    "images": {"gates": (gate(failed=True), gate(failed=False))},
    "hostile images": {"hostile": True, "classes": 6},
    "hostile rows": {"hostile": True, "classes": 6, "kind": "row"},
    "hostile texts": {"hostile": True, "classes": 5, "kind": "text"},
    "two classes": {"classes": 2, "kind": "row", "sketched": True},
    "no previews": {"kind": "none"},
    "not auditable": {"auditable": False},
    "no suspects": {"suspects": 0},
    "one layer": {"layers": 1},
    "a class of one sample": {"classes": 9, "samples": 10, "suspects": 2},
    "40 classes, 120 layers": {"classes": 40, "layers": 120, "samples": 400},
    "100 classes": {"classes": 100, "samples": 400},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())


# the page as a whole


@each_variant
def test_a_page_is_whole_and_asks_nothing_of_the_network(variant: dict[str, Any]) -> None:
    page = page_of(**variant)
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    always = {*SECTIONS} - {"theory"}
    assert (always if variant.get("auditable") is False else {*SECTIONS} | THEORY) <= set(ids)
    names = {name for name, _ in page.tags}
    assert names.isdisjoint({"link", "iframe", "object", "base"})
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.keys().isdisjoint({"action", "formaction", "srcset", "ping"})
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/"))


def test_the_page_forbids_what_it_does_not_need() -> None:
    policies = [
        a["content"] for tag, a in undrawn_page_of().tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    (script,) = re.findall("<script>(.*?)</script>", undrawn_html_of(), flags=re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policies == [
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'"
    ]


def test_every_section_says_how_to_read_it() -> None:
    html = undrawn_html_of()
    sections = re.findall(r'<section id="([\w-]+)".*?</section>', html, flags=re.DOTALL)
    assert tuple(sections) == SECTIONS
    for section in re.findall(r"<section .*?</section>", html, flags=re.DOTALL)[2:]:
        assert section.count("How to read this") == 1


def test_equal_audits_give_equal_pages_whatever_matplotlib_is_set_to() -> None:
    with mpl.rc_context({"font.size": 40, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert render_html(make_audit()) == html_of()
        assert mpl.rcParams["font.size"] == 40


def test_a_page_read_back_is_the_same_page(tmp_path: Path) -> None:
    audit = make_audit(kind="row", hostile=True, classes=6)
    (tmp_path / "audit.json").write_bytes(audit_to_json(audit).encode())
    assert render_html(read_audit(tmp_path / "audit.json")) == render_html(audit)


@pytest.mark.parametrize("kind", ["image", "row", "text"])
def test_hostile_names_stay_text(kind: Any) -> None:
    render = html_of if kind == "image" else undrawn_html_of  # the figures are the same for all kinds
    html = render(hostile=True, classes=6, kind=kind, suspects=60)
    page = Page(html)
    assert HOSTILE[0] in page.words
    assert "7 }} {% raw %}" in page.words
    assert [attrs.get("type") for tag, attrs in page.tags if tag == "script"] == ["application/json", None]
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert not set("\u202e\u202d\u2066\u0007\x00") & set(html)
    shown = re.sub('<script type="application/json".*?</script>', "", html, flags=re.DOTALL)
    assert "x" * 300 not in shown, "only the script's data has ids whole: they go into the files it writes"
    assert any(tag == "bdi" for tag, _ in page.tags)


def test_names_in_figures_are_isolated_and_never_typeset() -> None:
    html = html_of(classes=2, layers=2)
    audit = make_audit(classes=2, layers=2)
    layers = tuple(replace(layer, name=f"$\\frac{{{i}}}{{0}}$ <b>") for i, layer in enumerate(audit.layers))
    named = render_html(replace(audit, layers=layers))
    assert "\u2068$\\frac{0}{0}$ &lt;b&gt;\u2069" in named
    assert named.count("<path") == html.count("<path")


def data_of(html: str) -> dict[str, Any]:
    """Return what the page holds for its script."""
    (text,) = re.findall('<script type="application/json"[^>]*>(.*?)</script>', html, flags=re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def test_five_hundred_suspects_of_the_largest_pictures_stay_under_three_megabytes() -> None:
    """Noise of 64 pixels a side compresses worst; where room ends, neighbors go without a picture."""
    html = render_html(make_audit(samples=3000, suspects=700, image_side=64))
    data = data_of(html)
    assert html.count('<li class="card') == 24
    assert len([sample for sample in data["samples"] if "form" in sample]) >= 500 - 24
    unseen = len([sample for sample in data["samples"] if "form" in sample and "picture" not in sample])
    assert 0 < unseen < 500
    assert f"{unseen} samples are shown without their picture" in Page(html).words
    assert any(neighbor[4] < 0 for neighbor in data["neighbors"])
    assert 1_500_000 < len(html.encode()) < 3_000_000


def test_the_kinds_of_samples_in_a_line_are_named_too() -> None:
    audit = make_audit(suspects=5, others=2)
    html = render_undrawn(replace(audit, settings={**audit.settings, "gallery": 0}))
    data, kind_of = data_of(html), audit.samples.set_index("id")["kind"]
    assert len(data["samples"]) == 11
    for one in data["samples"]:
        assert data["kinds"][one["kind"]] == kind_of[one["id"]]
    assert "<option>mislabeled</option>" in html


def test_suspects_beyond_the_gallery_have_a_line() -> None:
    audit = make_audit(suspects=60)
    data = data_of(render_undrawn(replace(audit, settings={**audit.settings, "gallery": 30})))
    assert len(data["samples"]) == len(audit.evidence)
    assert [("form" in sample) for sample in data["samples"][-30:]] == [False] * 30


# what each audit shows


def test_the_first_screen_gives_the_verdict_and_its_reasons() -> None:
    words = undrawn_page_of().words
    assert "High risk: about 6.2% of the labels are wrong" in words
    wrong = "6.2% of the labels are wrong: about 15 of 240 Between 4.7% and 9.4%. 12 suspects are listed;"
    assert f"Labels high {wrong}" in words
    assert "Generalization high 84.4% accuracy expected on new data 80% interval: 81.2% to 87.5%" in words
    assert "That is 15.6 points below the training accuracy, >99.9%." in words
    assert "Scale: gap to the training accuracy, 15.6 points (12.5 to 18.8)." in words
    assert "Suspects 12 5.0% of the samples" in words
    assert "Measured on 240 of 480 samples." in words
    assert "Do not trust its training accuracy." in words
    assert "Gates" not in words


def test_what_to_do_says_why_and_what_it_should_bring_on_new_data() -> None:
    words = undrawn_page_of().words
    assert (
        "Drop them. 12.5% of the labels are memorized. Expected accuracy on new data: 86.2% to 89.5% (now "
        "84.4%), by what cleaning brought to benchmark networks ( see the samples )" in words
    )
    collect = (
        "Collect more of it. Class 3: 75% expected on new data. Expected accuracy on new data: up to 87.5%"
    )
    assert f"{collect} (now 84.4%) ( see the class )" in words
    assert "Stop earlier. The input of layer body.1.fc already fits 75%. Effect on new data unknown" in words
    assert "Narrows the interval of the expected accuracy to ±1.5 points (now ±3.1)" in words


def test_commands_have_the_paths_of_the_scan(tmp_path: Path) -> None:
    actions = build_actions(make_audit(), PLACES)
    commands = [one.command for one in (*actions.first, *actions.others) if one.command]
    assert commands == [
        "cohaudit correct out/audit.json --data data/train.npz --out data/train-corrected.npz",
        "cohaudit scan run/ckpt-2.pt fixtures/digits/model.safetensors --holdout HOLDOUT",
    ]
    assert actions.compare == "cohaudit diff out/audit.json RETRAINED/audit.json"
    from_code = build_actions(make_audit(), Places("my out/audit.json", ""))
    assert from_code.first[0].command == "cohaudit export 'my out/audit.json' --format csv"
    hidden = build_actions(make_audit(), Places("out\u202e/audit.json", "data"))
    assert hidden.first[0].command == "", "nobody can read what it does"
    page = write_report(make_audit(suspects=1), tmp_path / "r", data="d.npz")[0].read_text(encoding="utf-8")
    assert f"cohaudit correct {tmp_path}/r/audit.json --data d.npz --out d-corrected.npz" in page


def test_the_steps_to_the_expected_accuracy_are_accuracies() -> None:
    words = undrawn_page_of().words
    assert "support 81.3% of the predictions. 81.2% correction" in words
    assert "Networks did 3.1 points better. 84.4% The gap is" in words
    assert "Each is an upper bound, and they overlap" in words


@pytest.mark.parametrize("level", ["low", "moderate", "high", "severe"])
def test_every_level_has_its_words(level: Any) -> None:
    audit = make_audit()
    assert isinstance(audit.risk, Risk)
    assert isinstance(audit.wrong_labels, WrongLabels)
    wrong = replace(audit.wrong_labels, level="low")
    html = render_undrawn(replace(audit, risk=replace(audit.risk, level=level), wrong_labels=wrong))
    assert f"{level.capitalize()} risk" in html
    assert f'class="verdict {level}"' in html


def test_a_model_that_is_not_auditable_gets_no_verdict() -> None:
    words = undrawn_page_of(auditable=False, gates=(gate(failed=True),)).words
    assert "Generalization No verdict: no better than chance" in words
    assert "risk, from 0 to 1" not in words
    assert "1 of 1 gate failed." in words
    assert "No sample was judged" in words
    assert "Wrong labels" not in words
    assert "Suspects Share" not in words
    assert "Samples by suspicion" not in words
    assert "share of suspects" not in words
    assert "Not measured: the model is not auditable" in words


def test_samples_without_a_suspicion_are_not_shown_as_judged() -> None:
    audit = make_audit(suspects=0)
    words = words_of(replace(audit, samples=audit.samples.assign(suspicion=float("nan"))))
    assert "No sample was judged: the suspicion was not measured" in words
    assert "Suspects 0" not in words
    assert "Samples by suspicion" not in words


def test_kinds_are_counted_with_how_sure_they_are() -> None:
    audit = make_audit(samples=200, suspects=5)
    table = audit.samples
    words = words_of(audit)
    for kind in ("typical", "mislabeled", "ambiguous", "rare", "duplicate"):
        own = table[table["kind"] == kind]
        sure = f"{own['certainty'].mean():.1%}".replace("%", "")
        assert f"{kind} {len(own)} {len(own) / 200:.1%}"[:-3] in words
        assert sure in words
    twins = table[table["duplicate_of"] != ""]
    assert f"{len(twins)} samples are near-duplicates of another sample" in words
    claimed = table["suspicion"][table["suspect"]].mean()
    assert f"Expected precision: {claimed:.1%}".replace("%", "")[:-2] in words


def test_nobody_is_of_a_kind_where_nobody_was_judged() -> None:
    words = words_of(make_audit(auditable=False))
    assert "Similar samples support the label" not in words


def test_suspicions_near_one_can_be_ranked() -> None:
    audit = make_audit(suspects=2)
    rank = {evidence.id: value for evidence, value in zip(audit.evidence, (0.99983, 0.9971), strict=False)}
    samples = audit.samples.assign(suspicion=audit.samples["id"].map(rank).fillna(audit.samples["suspicion"]))
    words = words_of(replace(audit, samples=samples))
    assert "0.99983 suspicion" in words
    assert "0.9971 suspicion" in words


def test_neighbors_show_their_ids_and_whether_they_are_suspects() -> None:
    audit = make_audit(suspects=2, evidence=1)
    first, second = audit.evidence[:2]
    neighbor = replace(first.supporters[0], id=second.id)
    words = words_of(replace(audit, evidence=(replace(first, supporters=(neighbor,)), second)))
    assert f"{signed(neighbor.cosine)} {neighbor.label} suspect near-duplicate {second.id[:6]}" in words
    plain = second.supporters[0]
    plain_words = words_of(
        replace(audit, evidence=(replace(first, supporters=(replace(plain, duplicate=False),)),))
    )
    assert f"{signed(plain.cosine)} {plain.label} {plain.id[:6]}" in plain_words
    opponent = first.opponents[0]
    assert f"{signed(opponent.cosine)} {opponent.label} {opponent.id[:6]}" in words


def test_a_coherence_below_one_is_put_into_perspective() -> None:
    audit = make_audit()
    assert isinstance(audit.coherence, Coherence)
    low = replace(audit.coherence, m_coherence=Estimate(0.05, 0.04, 0.06))
    assert "gradients cancel, as near convergence" in words_of(replace(audit, coherence=low))
    assert "gradients cancel, as near convergence" not in undrawn_page_of().words


def test_the_method_names_the_representation_and_the_error_of_cosines() -> None:
    words = undrawn_page_of().words
    assert "ridge regressions on the input of layer body.1.fc" in words
    assert "a cosine near 0 is about 0.0156" in words


def test_a_risk_that_was_skipped_says_why() -> None:
    words = words_of(replace(make_audit(), risk=Skipped("risk", "two samples are too few")))
    assert "Generalization Two samples are too few" in words


def test_gates_are_listed_with_their_outcome() -> None:
    words = undrawn_page_of(gates=(gate(failed=True), gate(failed=False))).words
    assert "1 of 2 gates failed." in words
    assert "failed risk>=high the risk is high, at or above high" in words
    assert "passed risk>=severe" in words
    assert words.index("failed risk>=high") < words.index("Drop them."), "before what to do"
    notices = [
        attrs["class"]
        for tag, attrs in undrawn_page_of(gates=(gate(failed=True),)).tags
        if tag == "p" and "notice" in str(attrs.get("class"))
    ]
    assert notices[0] == "notice failed"


def test_a_level_is_said_with_its_own_bounds() -> None:
    audit = make_audit()
    settings = {**audit.settings, "risk_levels": (0.005, 0.125, 0.3)}
    words = words_of(replace(audit, settings=settings))
    assert "low moderate high severe 0 12.5 30 40 Scale: gap" in words, "0.5 lies too near to 0"


def test_what_was_measured_on_a_holdout_stands_beside_the_prediction() -> None:
    words = undrawn_page_of(holdout=True).words
    assert "Prediction and holdout are combined" in words
    assert "from the holdout and the training data." in words
    for expected in (
        "Samples 500 (3 also in the training data, left out)",
        "Measured gap to its labels as given 18.8 points (15.6 to 21.9)",
        "Gap to its right labels (estimated) 17.2 points (12.5 to 21.9)",
        "Predicted gap to right labels 15.6 points (12.5 to 18.8)",
        "Cosine of the mean gradients 0.500",
        "Coherence from training to holdout 0.0156",
        "correction by the holdout The steps above predict a gap of 15.6 points (12.5 to 18.8)",
        "500 samples show 17.2 points (12.5 to 21.9) to right labels. The more certain of the two counts "
        "more. 82.8%",
    ):
        assert expected in words


def test_a_gap_below_zero_means_higher_accuracy() -> None:
    audit = make_audit()
    assert isinstance(audit.risk, Risk)
    gap = Estimate(-0.0625, -0.125, 0.0)
    words = words_of(
        replace(audit, risk=replace(audit.risk, gap=gap, predicted=gap, level="low", drivers=()))
    )
    assert "That is 6.2 points above the training accuracy" in words


def test_a_gate_that_warns_says_so() -> None:
    warned = replace(gate(failed=False), warned=True)
    words = undrawn_page_of(gates=(warned,)).words
    assert "1 of 1 gate warned." in words
    assert "warned risk>=severe" in words


def test_classes_with_the_largest_gap_come_first() -> None:
    audit = make_audit()
    gaps = [
        one.predicted_gap.value for one in by_gap(audit.classes) if isinstance(one.predicted_gap, Estimate)
    ]
    assert gaps == sorted(gaps, reverse=True)
    words = undrawn_page_of().words
    places = [words.index(f"{one.name} ", words.index("Gap in points")) for one in by_gap(audit.classes)[:3]]
    assert places == sorted(places)


def test_a_temperature_is_said_first() -> None:
    audit = make_audit()
    words = words_of(replace(audit, settings={**audit.settings, "temperature": 10.0}))
    assert "the loss on logits / 10" in words


def test_layers_show_their_numbers_or_why_there_are_none() -> None:
    words = undrawn_page_of().words
    assert "2 body.1.fc Linear 2,000 13.3% no gradient reaches it" in words
    assert "body.4.fc carries 33.3% of the gradient energy." in words.replace("\u2068", "").replace(
        "\u2069", ""
    )


def test_cosines_are_numbers_in_the_map_up_to_twelve_classes() -> None:
    def numbers(classes: int) -> int:
        return len(
            re.findall(
                r"<text[^>]*>[+\u2212]0\.\d\d</text>",
                build_classes(make_audit(classes=classes)).heat_map or "",
            )
        )

    assert numbers(12) == 12 * 11
    assert numbers(13) == 0


def test_the_error_of_sketched_cosines_is_said() -> None:
    assert "Computed from sketches, with a standard error of 0.0312." in undrawn_page_of(sketched=True).words
    exact = undrawn_page_of().words
    assert "Exact for these samples. For other samples of the same kind" in exact
    assert "± 0.0625" in exact


def test_classes_beyond_the_chart_are_counted() -> None:
    assert "The chart shows the first 40 of 100 classes." in undrawn_page_of(classes=100, samples=400).words


def test_a_suspect_shows_labels_numbers_and_neighbors() -> None:
    audit = make_audit()
    row = audit.samples.set_index("id").loc[audit.evidence[0].id]
    words = words_of(audit)
    # the end of the name is an element of its own, which is never broken
    folder, name = audit.evidence[0].id.split("/")
    assert f"1 sample {folder}/ {name} labeled {row['label']} looks like {row['suggested']}" in words
    assert f"{row['suspicion']:.2f} suspicion mislabeled Evidence predicted {row['predicted']}" in words
    opponent = audit.evidence[0].opponents[0]
    assert f"{signed(opponent.cosine)} {opponent.label}" in words


def test_rows_of_a_suspect_stand_beside_those_of_its_neighbors() -> None:
    audit = make_audit(kind="row", suspects=1)
    page = Page(render_undrawn(replace(audit, evidence=audit.evidence[:1])))
    roles = [attrs.get("class") for tag, attrs in page.tags if tag == "tr" and attrs.get("class")]
    assert roles == ["suspect", "suspect", *["opponent"] * 5, *["supporter"] * 5]
    assert "mean_column_13" in page.words


def test_wide_rows_are_cut_and_say_so() -> None:
    audit = make_audit(kind="row", suspects=1)
    wide = {i: Preview("row", row={f"c{n}": str(n) for n in range(45)}) for i in audit.previews}
    assert "The data has 5 more columns." in words_of(replace(audit, previews=wide))


def test_texts_are_shown_whole() -> None:
    assert "the service was slow but the soup was good" in undrawn_page_of(kind="text", suspects=1).words


def test_suspects_beyond_the_page_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_listing, "MAX_PAGE_SUSPECTS", 5)
    audit = make_audit(suspects=12)
    words = words_of(replace(audit, settings={**audit.settings, "gallery": 3}))
    assert "7 more suspects are in samples.csv" in words
    assert "more suspects" not in undrawn_page_of().words


def test_causes_and_actions_lead_to_what_shows_them() -> None:
    page = undrawn_page_of()
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {"#suspects", "#layer-2", "#method"} <= set(links)
    assert any(str(link).startswith("#class-") for link in links)
    assert {str(link).removeprefix("#") for link in links} <= ids


def test_a_better_checkpoint_and_a_holdout_are_actions() -> None:
    audit = make_audit()
    trajectory = audit.audits.trajectory
    assert not isinstance(trajectory, Skipped)
    better = replace(trajectory.points[1], rating=trajectory.points[-1].rating + 0.015625)
    changed = replace(trajectory, points=(trajectory.points[0], better, *trajectory.points[2:]), advised=1)
    words = words_of(replace(audit, audits=replace(audit.audits, trajectory=changed)))
    assert "Use the checkpoint epoch-1.pt instead of the last one. Its rating is 1.6 points higher" in words
    assert "Use the checkpoint" not in undrawn_page_of().words
    assert "--holdout" not in undrawn_page_of(holdout=True).words


def test_the_action_that_promises_most_comes_first_and_classes_are_one() -> None:
    audit = make_audit()
    trajectory = audit.audits.trajectory
    assert not isinstance(trajectory, Skipped)
    assert isinstance(audit.risk, Risk)
    better = [replace(trajectory.points[0], rating=0.99), *trajectory.points[1:]]
    much = replace(trajectory, points=tuple(better), advised=0)
    drivers = [*audit.risk.drivers, replace(audit.risk.drivers[1], name="class 4", lowers=0.0625)]
    changed = replace(
        audit, audits=replace(audit.audits, trajectory=much), risk=replace(audit.risk, drivers=tuple(drivers))
    )
    actions = build_actions(changed, PLACES)
    found = (*actions.first, *actions.others)
    assert [one.words.short.split(" ", 2)[0] for one in found] == [
        "Use",
        "Drop",
        "Collect",
        "Stop",
        "Measure",
    ]
    assert "the classes class 3 and class 4" in found[2].words.short
    assert "up to 93.8% (now 84.4%)" in found[2].effect
    assert len(actions.first) == 3


def test_a_model_that_cannot_be_audited_is_told_what_to_do() -> None:
    assert (
        "Use the weights, labels and preprocessing that the model was trained with"
        in undrawn_page_of(auditable=False).words
    )


def test_a_dataset_without_suspects_says_so() -> None:
    words = undrawn_page_of(suspects=0).words
    assert "Wrong labels: about 6.2% (4.7% to 9.4%). No sample has a suspicion of 0.5 or more." in words
    assert "Suspects 0 0% of the samples" in words


def test_the_share_of_wrong_labels_is_on_the_page() -> None:
    words = undrawn_page_of().words
    assert "6.2% of the labels are wrong: about 15 of 240 Between 4.7% and 9.4%." in words
    assert "Wrong labels: about 6.2% (4.7% to 9.4%). 12 samples have a suspicion" in words


def test_where_wrong_labels_cannot_be_told_no_number_reads_as_correct_labels() -> None:
    words = undrawn_page_of(told=False).words
    assert "≤ 12.5% of the labels may be wrong Which ones, if any, cannot be told here" in words
    assert "Review the samples with the lowest rank in samples.csv. No suspects are listed." in words
    assert "Suspects 0" not in words
    assert "Expected precision" not in words


def test_what_was_skipped_is_named() -> None:
    assert "layer embed its weights are frozen" in undrawn_page_of().words
    assert "Nothing was skipped." in undrawn_page_of(layers=2).words


def test_the_certificate_is_shown() -> None:
    words = undrawn_page_of().words
    assert (
        "8 samples recomputed one at a time with plain autograd; the gradients of 99.9% of the trainable"
        in words
    )
    assert "3.1 × 10⁻⁷ 0.00100 <0.1% body.0.fc" in words


def test_settings_of_the_wrong_type_are_refused() -> None:
    audit = make_audit()
    with pytest.raises(CohauditError, match="gallery of the audit"):
        render_undrawn(replace(audit, settings={"gallery": "many"}))


def test_a_preview_that_is_no_picture_is_left_out() -> None:
    audit = make_audit(suspects=1)
    broken = {i: Preview("image", image="data:image/png;base64,AAAA") for i in audit.previews}
    assert not any(tag == "img" for tag, _ in Page(render_undrawn(replace(audit, previews=broken))).tags)


# pages of many classes and layers


def test_a_page_of_a_thousand_classes_and_five_hundred_layers_stays_small() -> None:
    html = html_of(classes=1000, layers=500, samples=3000)
    assert len(html.encode()) < 1_000_000
    words = Page(html).words
    assert "audit.json has 850 more classes." in words
    assert "Only the first and the last 75 rows are shown; 350 more are in audit.json." in words
    assert "Only the first and the last 50 rows are shown; 400 more are in audit.json." in words


def test_a_page_of_many_of_everything_keeps_to_three_megabytes() -> None:
    audit = make_audit(classes=1000, layers=500, samples=3000, suspects=60, image_side=64)
    figures = sum(map(len, re.findall("<svg.*?</svg>", html_of(classes=1000, layers=500, samples=3000))))
    assert len(render_undrawn(audit).encode()) + 1.1 * figures < 3_000_000


def test_tables_that_fit_are_whole() -> None:
    html = undrawn_html_of(classes=100, layers=100, samples=400)
    assert "in audit.json." not in html.split("Cosines between classes")[0]


def test_groups_are_listed_with_their_classes() -> None:
    html = undrawn_html_of(classes=100, samples=400)
    listed = html[html.index("Classes in each group") :]
    listed = listed[: listed.index("</details>")]
    assert {*re.findall(r"class \d+", listed)} == {f"class {i}" for i in range(100)}
    assert "Classes in each group" not in undrawn_html_of()
