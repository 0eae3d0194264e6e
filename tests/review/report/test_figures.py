"""The figures of the report: what they show, by the trials that they show it of."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from lrsearch.errors import InputError, UnknownNameError
from lrsearch.lr_range import find_zones
from lrsearch.results import EpochResult
from lrsearch.review.report import losses
from lrsearch.review.report.catalogue import FIGURES, figures
from lrsearch.review.report.comparison_page import comparison, study_groups
from lrsearch.review.report.figure import Absent, Area, Bars, Line, Points
from lrsearch.review.report.files import write_figures
from lrsearch.review.report.plotly_drawing import legend_entries
from lrsearch.review.report.pruning import audit_findings, wilson
from lrsearch.review.report.trajectories import trajectory
from lrsearch.review.report.trials import ShownStudy, StudyClock
from lrsearch.schedules import KINDS, Hyperparameters, Schedule
from lrsearch.spec import RangeTestSpec
from tests.review.range_tests import complete
from tests.review.report.studies import EPOCHS, STEPS, audited, confirmed, study

USUAL = study()
EVERYTHING = audited(confirmed(USUAL))


def shown(facts, kind, place=0):
    """Return a study's figure of a kind."""
    return figures(ShownStudy(facts), kind)[place]


def trials(facts, outcome):
    """Return a study's trials that ended in a way."""
    return [trial for trial in ShownStudy(facts).trials if trial.outcome == outcome]


def points(figure, label):
    """Return the points of a figure below a label."""
    return [mark for mark in figure.marks if isinstance(mark, Points) and mark.label == label]


def test_every_trial_lies_over_its_learning_rate():
    """Filled if complete, hollow if stopped, in the colour of its kind; a failed one has no loss to show."""
    figure = shown(USUAL, "loss-over-lr")
    for outcome, symbol in (("complete", "circle"), ("stopped", "hollow")):
        found = Counter(
            (x, y)
            for mark in figure.marks
            if mark.symbol == symbol
            for x, y in zip(mark.x, mark.y, strict=True)
        )
        assert found == Counter((trial.points[None].lr, trial.loss) for trial in trials(USUAL, outcome))
    colors = {mark.label: {m.color for m in figure.marks if m.label == mark.label} for mark in figure.marks}
    assert all(len(found) == 1 for label, found in colors.items() if label in KINDS)


def test_diverged_trials_lie_at_the_top():
    """Above every loss, within the figure."""
    figure = shown(USUAL, "loss-over-lr")
    [mark] = points(figure, "diverged (4)")
    assert mark.x == tuple(trial.points[None].lr for trial in trials(USUAL, "diverged"))
    highest = max(y for other in figure.marks if other is not mark for y in other.y)
    assert highest < min(mark.y)
    assert max(mark.y) < figure.y.span[1]


def test_the_bounds_of_the_search_are_drawn():
    """Both ends of the range of lr, within the figure."""
    figure, lr = shown(USUAL, "loss-over-lr"), USUAL.spec.space.lr
    assert [rule.at for rule in figure.rules] == [lr.low, lr.high]
    assert figure.x.span[0] < lr.low < lr.high < figure.x.span[1]


def test_the_interval_of_the_range_test_is_drawn():
    """That which the study was given; else that of the newest stored test, if there is one."""
    assert shown(USUAL, "loss-over-lr").bands == ()
    test = complete()
    [band] = shown(replace(USUAL, range_test=test), "loss-over-lr").bands
    zone = find_zones(test).falling
    assert (band.low, band.high) == (zone.low, zone.high)
    spec = USUAL.spec.model_copy(update={"range_test": RangeTestSpec(low=0.02, high=0.3, lrs=[0.1])})
    [band] = shown(replace(USUAL, spec=spec, range_test=test), "loss-over-lr").bands
    assert (band.low, band.high) == (0.02, 0.3)


def test_a_curve_ends_where_its_trial_was_stopped():
    """Every epoch that was trained is there once, and the end of each stopped trial is marked."""
    figure = shown(USUAL, "curves")
    lines = [mark for mark in figure.marks if isinstance(mark, Line) and not mark.label.startswith("best")]
    drawn = Counter((x, y) for line in lines for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y))
    trained = Counter(
        (float(epoch.epoch), epoch.valid_loss)
        for curve in USUAL.curves.values()
        for epoch in curve
        if math.isfinite(epoch.valid_loss)
    )
    assert drawn == trained
    [ends] = points(figure, "stopped here")
    assert list(ends.x) == [trial.record.epochs for trial in trials(USUAL, "stopped")]


def test_curves_are_coloured_by_their_learning_rate():
    """The legend's intervals cover all rates, from the smallest to the largest, without a gap."""
    figure = shown(USUAL, "curves")
    labels = [mark.label.split(" to ") for mark in figure.marks if " to " in mark.label]
    assert all(float(one[1]) <= float(other[0]) for one, other in pairwise(labels))
    lrs = [trial.points[None].lr for trial in ShownStudy(USUAL).trials]
    assert float(labels[0][0]) == pytest.approx(min(lrs), rel=0.05)
    assert float(labels[-1][1]) == pytest.approx(max(lrs), rel=0.05)


def test_many_curves_are_thinned_and_it_is_said(monkeypatch):
    """The best are kept."""
    monkeypatch.setattr(losses, "MOST_CURVES", 10)
    figure = shown(USUAL, "curves")
    curves = [m for m in figure.marks if isinstance(m, Line) and not m.label.startswith("best")]
    drawn = sum(math.isnan(x) for line in curves for x in line.x)
    assert drawn <= 11
    assert f"Drawn are {drawn} of 28 trials" in figure.note
    assert any(
        mark.label == f"best of the search: trial {ShownStudy(USUAL).best.number}" for mark in figure.marks
    )


def test_long_curves_are_thinned_and_it_is_said(monkeypatch):
    """First and last epochs are kept."""
    monkeypatch.setattr(losses, "MOST_POINTS", 100)
    facts = study(trials=14, ends=("complete",), epochs=60)
    figure = shown(facts, "curves")
    lines = [m for m in figure.marks if isinstance(m, Line) and not m.label.startswith("best")]
    xs = [x for line in lines for x in line.x if math.isfinite(x)]
    assert len(xs) < 14 * 60
    assert xs.count(1.0) == xs.count(60.0) == 14
    assert "Of 840 epochs only so many are drawn" in figure.note


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS.values() if not kind.needs_feedback], ids=lambda k: k.name
)
def test_a_trajectory_is_the_schedules(kind):
    """At every update that is drawn, the first and the last of each epoch among them."""
    point = Hyperparameters(0.1, kind.name, warmup_fraction=0.1 if kind.takes_warmup else 0.0)
    x, y = trajectory(point, EPOCHS, STEPS, [1.0] * EPOCHS)
    steps = np.round(np.array(x) * STEPS)
    assert {epoch * STEPS for epoch in range(EPOCHS)} <= set(steps)
    assert {epoch * STEPS - 1 for epoch in range(1, EPOCHS + 1)} <= set(steps)
    np.testing.assert_allclose(y, Schedule(point, EPOCHS, STEPS).lrs(steps))


def test_a_plateaus_trajectory_follows_the_recorded_losses():
    """It is cut after the epochs that brought nothing, and lasts as long as the trial did."""
    point = Hyperparameters(1.0, "ReduceLROnPlateau", {"factor": 0.1, "patience": 1})
    x, y = trajectory(point, EPOCHS, STEPS, [1.0, 0.5, 0.6, 0.7, 0.4])
    by_epoch = {int(at): lr for at, lr in zip(x, y, strict=True)}
    assert by_epoch == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: pytest.approx(0.1)}


def test_the_best_trials_trajectories_are_drawn():
    """Best first, each as far as it was trained; without a known number of updates it is said."""
    figure = shown(USUAL, "trajectories")
    best = ShownStudy(USUAL).ranked[: len(figure.marks)]
    assert [mark.label.split(":")[0] for mark in figure.marks] == [f"trial {trial.number}" for trial in best]
    assert "is not known" not in figure.note
    assert "is not known" in shown(replace(USUAL, steps_per_epoch=None), "trajectories").note


def test_the_best_value_falls_with_the_complete_trials_alone():
    """A stopped trial's loss is not a value."""
    facts = study(trials=6, ends=("stopped", "complete"))
    best = ShownStudy(facts).best_so_far()
    values = [trial.loss for trial in ShownStudy(facts).ended]
    assert math.isnan(best[0])
    assert list(best[1:]) == [min(values[1 : place + 1 : 2]) for place in range(1, 6)]


def test_time_is_that_of_training():
    """A pause between two runs is left out."""

    def record(begin, end):
        times = {"started_at": f"2026-01-01T{begin}+00:00", "finished_at": f"2026-01-01T{end}+00:00"}
        return replace(USUAL.trials[0], **times)

    clock = StudyClock.of(
        [record("01:00:00", "01:00:10"), record("01:00:05", "01:00:20"), record("05:00:00", "05:00:30")]
    )
    assert clock.total_s == 50
    assert [
        clock.at(f"2026-01-01T{time}+00:00") for time in ("01:00:00", "01:00:15", "03:00:00", "05:00:10")
    ] == [
        0,
        15,
        20,
        30,
    ]
    assert math.isnan(clock.at(None))


def test_kinds_stand_in_the_order_of_their_best_trial():
    """With the number of complete trials and of all."""
    figure, found = shown(USUAL, "kinds"), ShownStudy(USUAL)
    order = list(dict.fromkeys(trial.points[None].kind for trial in found.ranked))
    assert [name.split()[0] for name in figure.y.names][: len(order)] == order
    first = [trial for trial in found.ended if trial.points[None].kind == order[0]]
    complete = sum(trial.outcome == "complete" for trial in first)
    assert figure.y.names[0] == f"{order[0]} {complete}/{len(first)}"


def test_importance_finds_the_parameter_that_matters():
    """Losses that are a function of momentum alone; what it compares is said."""
    facts = study(trials=60, ends=("complete",))

    def dressed(trial):
        return replace(trial, value=1 + trial.params["momentum"])

    facts = replace(facts, trials=tuple(map(dressed, facts.trials)))
    figure = shown(facts, "importance")
    assert figure.y.names[0].startswith("momentum ")
    [bars] = figure.marks
    assert sum(bars.lengths) == pytest.approx(1)
    assert {name.split()[0] for name in figure.y.names} == {"lr", "kind", "momentum"}
    assert "parameters that all trials have at once" in figure.note


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (study(trials=3), "It takes 4 complete trials, and there are 1."),
        (
            study(space={"kinds": ["constant"], "warmup_fraction": 0.0}, optimizer={"name": "SGD"}),
            "lr: it has all",
        ),
        (
            study(
                space={"kinds": ["constant"], "lr": 0.1, "warmup_fraction": 0.0}, optimizer={"name": "SGD"}
            ),
            "share no",
        ),
    ],
)
def test_importance_says_why_it_is_absent(facts, reason):
    """In a plain sentence."""
    figure = shown(facts, "importance")
    assert isinstance(figure, Absent)
    assert reason in figure.reason


def test_importance_survives_whatever_its_numerics_raise(monkeypatch):
    """And says so."""
    import optuna

    def fail(*_arguments, **_options):
        raise RuntimeError("singular")

    monkeypatch.setattr(optuna.importance, "get_param_importances", fail)
    assert "could not compute it from these 8 trials (singular)" in shown(USUAL, "importance").reason


def test_parallel_coordinates_have_the_axes_that_all_trials_share():
    """A line for each trial, warm-up 0 where there is none, the best tenth stronger."""
    figure = shown(USUAL, "parallel")
    assert figure.x.names == ("lr", "warm-up", "momentum", "loss")
    lines = [mark for mark in figure.marks if mark.label]
    strong = sum(math.isnan(x) for line in lines for x in line.x if line.width > 2)
    assert strong == len(ShownStudy(USUAL).best_tenth) == 3
    everyone = sum(math.isnan(x) for line in lines for x in line.x)
    assert everyone == 28 - len(trials(USUAL, "failed"))
    assert all(0 <= y <= 1 for line in lines for y in line.y if math.isfinite(y))


def test_the_knobs_of_each_kind_have_a_figure_of_their_own():
    """With the axes that this kind alone has."""
    facts = study(trials=60, space={"kinds": ["StepLR", "WSD", "constant"]})
    titles = {figure.title: figure.x.names for figure in figures(ShownStudy(facts), "knobs")}
    assert titles == {
        "Knobs of StepLR": ("lr", "step_fraction", "gamma", "loss"),
        "Knobs of WSD": ("lr", "decay_fraction", "loss"),
    }


def test_a_bar_for_each_trial_is_as_long_as_it_trained():
    """In the colour of its end."""
    figure = shown(USUAL, "pruning")
    bars = {
        place: length
        for mark in figure.marks
        for place, length in zip(mark.places, mark.lengths, strict=True)
    }
    assert bars == {float(trial.number): float(trial.epochs) for trial in USUAL.trials}
    assert {mark.label for mark in figure.marks} == {
        "complete (8)",
        "stopped (12)",
        "diverged (4)",
        "failed (4)",
    }


def test_an_audit_says_how_many_would_have_been_among_the_best_tenth():
    """Against the last of the best tenth; a diverged one would not; by schedule kind too."""
    found = audit_findings(ShownStudy(EVERYTHING))
    best = ShownStudy(EVERYTHING).best_tenth
    assert found.threshold == max(trial.loss for trial in best)
    assert (found.entering, len(found.audited)) == (1, 3)
    assert found.sentence.startswith("Of 3 stopped trials that were trained to their end, 1 would have been")
    assert sum(found.stopped.values()) == 12
    kinds = EVERYTHING.spec.space.kinds
    assert sum(found.of_kind(kind)[0] for kind in kinds) == 1
    assert sum(found.of_kind(kind)[1] for kind in kinds) == 3
    figure = shown(EVERYTHING, "pruning", 1)
    assert [rule.at for rule in figure.rules] == [found.threshold]
    assert sum(len(mark.x) for mark in figure.marks if mark.symbol == "star") == 1
    assert audit_findings(ShownStudy(USUAL)) is None


@pytest.mark.parametrize(
    ("count", "sample", "low", "high"), [(0, 10, 0.0, 0.278), (2, 10, 0.057, 0.510), (10, 10, 0.722, 1.0)]
)
def test_wilsons_interval_is_the_published_one(count, sample, low, high):
    """As tabulated, such as in Newcombe 1998."""
    assert wilson(count, sample) == pytest.approx((low, high), abs=1e-3)


def test_bars_of_one_worker_never_overlap():
    """Trials that it trained at once lie beside each other in its row."""
    facts = study(trials=30)
    figure = shown(facts, "timeline")
    assert figure.y.names == ("worker 1, cpu", "worker 2, cpu")
    bars = [
        (place, start, start + length)
        for mark in figure.marks
        for place, start, length in zip(mark.places, mark.starts, mark.lengths, strict=True)
    ]
    assert len(bars) == 30
    for one, other in pairwise(sorted(bars)):
        assert one[0] != other[0] or one[2] <= other[1] + 1e-9


def test_a_study_with_parts_has_a_figure_for_each():
    """Of learning rates, trajectories and kinds."""
    facts = study(task="external", steps=None, parts=["generator", "discriminator"])
    for kind in ("loss-over-lr", "trajectories", "kinds"):
        names = [figure.name for figure in figures(ShownStudy(facts), kind)]
        assert names == [f"{kind}-generator", f"{kind}-discriminator"]


def test_losses_below_zero_are_drawn_on_a_linear_axis():
    """A logarithm would lose them."""

    def lowered(epoch: EpochResult) -> EpochResult:
        return replace(epoch, valid_loss=epoch.valid_loss - 1)

    facts = replace(
        USUAL,
        trials=tuple(replace(t, value=t.value and t.value - 1) for t in USUAL.trials),
        curves={number: tuple(map(lowered, curve)) for number, curve in USUAL.curves.items()},
    )
    assert shown(USUAL, "curves").y.log
    for kind in ("loss-over-lr", "curves", "history"):
        figure = shown(facts, kind)
        assert not figure.y.log
        drawn = [y for mark in figure.marks for y in mark.y if math.isfinite(y)]
        assert figure.y.span[0] < min(drawn) <= max(drawn) < figure.y.span[1]


def test_studies_that_differ_in_seed_and_name_alone_are_one_group():
    """Told apart by what differs; the median and the quartiles over the seeds."""
    studies = [
        study(seed=seed, sampler=name, name=f"{name}-{seed}")
        for name in ("tpe", "random")
        for seed in range(3)
    ]
    factors = (1.0, 3.0, 2.0, 4.0, 5.0, 9.0)
    studies = [
        replace(each, trials=tuple(replace(t, value=t.value and t.value * factor) for t in each.trials))
        for each, factor in zip(studies, factors, strict=True)
    ]
    groups = study_groups(list(map(ShownStudy, studies)))
    assert [(group.label, len(group.studies)) for group in groups] == [("tpe", 3), ("random", 3)]
    figure = comparison(groups)
    medians = [mark for mark in figure.marks if isinstance(mark, Line)]
    base = ShownStudy(study()).best_so_far()
    for line, factor in zip(medians, (2.0, 5.0), strict=True):
        assert line.y == pytest.approx([factor * value for value in base])
    areas = [mark for mark in figure.marks if isinstance(mark, Area)]
    assert len(areas) == 2
    late = study(seed=3, ends=("stopped", "complete"), name="late")
    [line] = [
        m
        for m in comparison(study_groups([ShownStudy(study()), ShownStudy(late)])).marks
        if isinstance(m, Line)
    ]
    assert math.isnan(line.y[0])  # one of the two has no value yet
    assert math.isfinite(line.y[1])
    pruners = [ShownStudy(study(pruner=name)) for name in ("none", "asha")]
    assert [group.label for group in study_groups(pruners)] == ["pruner none", "pruner asha"]


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_is_drawn_into_an_image(kind, tmp_path):
    """With its title, as text that can be searched."""
    drawn = figures(ShownStudy(EVERYTHING), kind)[:2]
    write_figures("x", drawn, tmp_path / "a.svg")
    texts = "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())
    assert all(figure.title in texts for figure in drawn)


def test_images_of_one_study_are_the_same(tmp_path):
    """So that two can be compared; a PNG is drawn as well."""
    drawn = figures(ShownStudy(EVERYTHING), "pruning")
    for name in ("a.svg", "b.svg", "a.png"):
        write_figures("x", drawn, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_an_image_takes_no_name_for_a_formula(tmp_path):
    """A dollar sign is a dollar sign."""
    figure = replace(shown(USUAL, "history"), title=r"a $\frac$ b")
    write_figures("x", [figure], tmp_path / "a.svg")
    assert r"a $\frac$ b" in "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())


def test_nothing_to_draw_is_refused(tmp_path):
    """With the reason that the report gives."""
    with pytest.raises(
        InputError, match=r"nothing to draw for 'Learning curves': No trial has trained an epoch yet"
    ):
        write_figures("x", figures(ShownStudy(study(trials=0)), "curves"), tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_of_figure_is_refused():
    """With the nearest one, and all."""
    with pytest.raises(UnknownNameError, match="Did you mean 'curves'"):
        figures(ShownStudy(USUAL), "curve")


def test_bars_say_what_they_are():
    """No bar is without a text beside it."""
    for kind in ("pruning", "timeline", "importance"):
        bars = [mark for mark in shown(USUAL, kind).marks if isinstance(mark, Bars)]
        assert all(len(mark.texts) == len(mark.places) for mark in bars)


def test_the_legend_names_all_marks_of_a_kind():
    """Whoever hides a kind hides its stopped trials too; the symbol is that of the complete ones."""
    figure = shown(USUAL, "loss-over-lr")
    for label, _color, symbol, places in legend_entries(figure):
        assert places == [place for place, mark in enumerate(figure.marks) if mark.label == label]
        assert symbol == figure.marks[places[-1]].symbol
