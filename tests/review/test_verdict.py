"""What a confirmation says, against SciPy's tests and worked examples."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_1samp, ttest_rel

from lrsearch.review.verdict import (
    better_rivals,
    estimate,
    holm,
    nearest_baseline,
    optimism_text,
    p_text,
    paired_p,
    verdict,
)
from tests.review.confirmations import confirmation

LOSSES = st.lists(st.floats(0.01, 10), min_size=2, max_size=20)
INF = math.inf
CLEAR = [0.50, 0.52, 0.51, 0.50, 0.53, 0.51]
WORSE = [0.60, 0.62, 0.615, 0.60, 0.63, 0.61]
NOISY = [0.51, 0.50, 0.53, 0.49, 0.55, 0.50]


@given(LOSSES)
def test_an_interval_is_that_of_students_t(values):
    """As SciPy computes it."""
    assume(max(values) - min(values) > 1e-6)
    found, expected = estimate(values), ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert found.runs == len(values)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=2, max_size=20))
def test_a_p_value_is_that_of_the_paired_t_test(pairs):
    """As SciPy computes it."""
    differences = [one - other for one, other in pairs]
    assume(max(differences) - min(differences) > 1e-6)
    assert paired_p(differences) == pytest.approx(ttest_rel(*zip(*pairs, strict=True)).pvalue, rel=1e-6)


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_runs_that_do_not_depend_on_the_seed_leave_nothing_to_chance(difference, p):
    """A difference that is the same under every seed is certain; none at all is none."""
    assert paired_p([difference] * 3) == pytest.approx(p, abs=1e-12)


def test_holms_correction_is_the_published_one():
    """Step-down: the smallest p is multiplied by their number, the next by one less; never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holms_correction_lies_between_none_and_bonferronis(p_values):
    """And above that of Benjamini and Hochberg, which controls less."""
    found = holm(p_values)
    discovery = false_discovery_control(p_values)
    for corrected, p, weaker in zip(found, p_values, discovery, strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p) + 1e-12
        assert corrected >= weaker - 1e-12


def test_the_first_half_of_the_seeds_selects_and_the_other_half_reports():
    """A candidate that is lucky on the selecting seeds wins, and its report shows the luck."""
    found = verdict(confirmation({"trial 1": [0.1, 0.1, 0.9, 0.8], "trial 2": [0.5, 0.5, 0.5, 0.5]}))
    assert found.winner.candidate.name == "trial 1"
    assert found.winner.valid_loss.mean == pytest.approx(0.85)
    assert found.winner.valid_loss.runs == 2
    assert found.winner.test["loss"].mean == pytest.approx(1.35)


def test_how_far_the_search_was_too_good_is_told_of_the_winner():
    """Its loss on the reporting seeds minus what the search had found."""
    found = verdict(confirmation({"trial 1": CLEAR, "the recipe": WORSE}, found={"trial 1": 0.45}))
    assert found.optimism.mean == pytest.approx(sum(CLEAR[3:]) / 3 - 0.45)


def test_a_trial_that_beats_every_baseline_is_recommended():
    """With the nearest baseline, its difference and p-value."""
    found = verdict(confirmation({"trial 7": CLEAR, "the recipe": WORSE, "another": [x + 1 for x in WORSE]}))
    assert found.sentence.startswith("Use trial 7. On 3 fresh seeds that did not select it, ")
    assert (
        "lower than that of every baseline; the nearest, the recipe, is 0.1 higher (95%: " in found.sentence
    )
    assert found.standings[1].comparison.is_shown


def test_a_first_trial_is_named_as_what_it_is():
    """As the winner, and as the best trial beside a baseline that won: no sampler has found it."""
    losses = {"trial 3": CLEAR, "the recipe": WORSE}
    assert verdict(confirmation(losses, recipes={"trial 3": "linear decay"})).sentence.startswith(
        "Use trial 3 (a first trial: linear decay). On 3 fresh seeds"
    )
    said = verdict(confirmation({"trial 3": WORSE, "the recipe": CLEAR}, recipes={"trial 3": "linear decay"}))
    assert "the best trial, trial 3 (a first trial: linear decay), is 0.1 higher" in said.sentence


def test_a_difference_within_the_noise_is_none():
    """And the verdict says so instead of naming a winner."""
    found = verdict(confirmation({"trial 7": CLEAR, "the recipe": NOISY}))
    assert found.sentence.startswith("No difference shown: trial 7 was best on the seeds that select it.")
    assert found.sentence.endswith("the baseline may do as well, and only more seeds decide.")
    assert not found.standings[1].comparison.is_shown


def test_a_difference_that_is_lower_has_its_interval_below_too():
    """Read as so much lower; where it may be higher, one end of the interval is negative."""
    reported = [CLEAR[3] - 0.03, CLEAR[4] + 0.01, CLEAR[5] - 0.01]
    said = verdict(confirmation({"trial 7": CLEAR, "the recipe": [*CLEAR[:3], *reported]})).sentence
    assert "that of the recipe is 0.01 lower (95%: -0.03968 to 0.05968; corrected p = 0.48)" in said
    assert said.endswith(
        "which chance may explain: the baseline may do as well or better, and only more seeds decide."
    )


def test_an_interval_without_zero_and_a_large_p_are_explained():
    """The interval is that of one comparison, and the p-value is corrected for all."""
    lower = [CLEAR[3] - 0.010, CLEAR[4] - 0.012, CLEAR[5] - 0.011]
    others = {f"trial {number}": [*(value + 1 for value in CLEAR[:3]), *NOISY[3:]] for number in range(8, 28)}
    found = verdict(confirmation({"trial 7": CLEAR, "the recipe": [*CLEAR[:3], *lower], **others}))
    difference = found.standings[1].comparison.difference
    assert difference.high < 0
    assert not found.standings[1].comparison.is_shown
    assert (
        "which chance, with so many compared, may explain: the baseline may do as well or better"
        in found.sentence
    )


def test_candidates_are_shown_by_the_loss_that_they_report():
    """Behind the winner, whatever the selecting seeds said; those that lost a run stand last."""
    losses = {"trial 1": CLEAR, "lost": [*CLEAR[:5], INF], "b": [*WORSE[:3], *(x + 1 for x in WORSE[3:])]}
    found = verdict(confirmation(losses | {"a": [x + 0.1 for x in WORSE]}))
    assert [each.candidate.name for each in found.by_loss] == ["trial 1", "a", "b", "lost"]


def test_a_baseline_that_is_better_is_recommended():
    """The search has then found nothing."""
    found = verdict(confirmation({"trial 7": WORSE, "the recipe": CLEAR}))
    assert found.winner.candidate.trial is None
    assert found.sentence.startswith("The search found nothing better than a baseline: use the recipe.")
    assert "the best trial, trial 7, is 0.1 higher" in found.sentence
    assert found.optimism is None


def test_a_baseline_that_is_shown_to_be_better_later_is_named():
    """The seeds that select were kind to the trial; no difference is not what the others show."""
    losses = {"trial 7": [*CLEAR[:3], *WORSE[3:]], "the recipe": [*WORSE[:3], *CLEAR[3:]]}
    found = verdict(confirmation(losses))
    assert found.winner.candidate.name == "trial 7"
    assert "but the recipe is shown to be better" in found.sentence
    assert "the recipe is 0.1 lower" in found.sentence
    swapped = {"the recipe": losses["trial 7"], "trial 7": losses["the recipe"]}
    assert "but trial 7 is shown to be better" in verdict(confirmation(swapped)).sentence


@pytest.mark.parametrize(("found", "word"), [(0.45, "higher"), (0.75, "lower")])
def test_luck_has_a_direction(found, word):
    """A loss on fresh seeds may lie below the search's."""
    said = verdict(confirmation({"trial 1": CLEAR, "the recipe": WORSE}, found={"trial 1": found}))
    assert f" {word} (95%: " in optimism_text(said)
    assert "-" not in optimism_text(said)


def test_a_run_that_diverged_costs_the_first_place():
    """On a selecting seed; on a reporting seed it leaves the candidate without an estimate."""
    found = verdict(
        confirmation({"trial 1": [INF, *CLEAR[1:]], "trial 2": WORSE, "recipe": [*WORSE[:5], INF]})
    )
    assert [each.candidate.name for each in found.standings] == ["trial 2", "recipe", "trial 1"]
    assert [each.lost for each in found.standings] == [0, 1, 1]
    assert found.standings[1].valid_loss is None
    assert found.standings[1].comparison is None


def test_a_winner_that_diverged_later_is_not_recommended():
    """It was best where it was selected, and is not safe."""
    found = verdict(confirmation({"trial 1": [*CLEAR[:5], INF], "recipe": WORSE}))
    assert found.winner.candidate.name == "trial 1"
    assert "a smaller learning rate would be safer" in found.sentence
    assert found.standings[1].comparison is None


def test_without_a_whole_run_nothing_is_recommended():
    """All candidates have diverged on a selecting seed."""
    found = verdict(confirmation({"trial 1": [INF] * 4, "recipe": [INF, 1.0, 1.0, 1.0]}))
    assert found.winner is None
    assert found.sentence.startswith("Nothing can be recommended: ")


def test_a_task_without_a_test_split_has_no_test_figures():
    """And is confirmed all the same."""
    found = verdict(confirmation({"trial 1": CLEAR, "recipe": WORSE}, test=False))
    assert found.winner.test == {}


@pytest.mark.parametrize(("p", "text"), [(0.0002, "p < 0.001"), (0.0134, "p = 0.013"), (1.0, "p = 1")])
def test_p_values_are_written_in_two_digits(p, text):
    """Small ones as an upper limit."""
    assert p_text(p) == text


def test_a_rival_is_compared_and_never_the_winner():
    """It has another optimizer than the study, also where it is best on every seed."""
    found = verdict(confirmation({"trial 7": WORSE, "the recipe": [x + 1 for x in WORSE], "rival": CLEAR}))
    assert found.winner.candidate.name == "trial 7"
    assert [each.candidate.name for each in found.standings] == ["trial 7", "rival", "the recipe"]
    assert found.sentence.startswith("Use trial 7. ")
    assert (
        " An optimizer that needs no schedule is shown to be better: the best, rival, is 0.1 lower ("
        in found.sentence
    )
    assert [each.candidate.name for each in better_rivals(found)] == ["rival"]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (WORSE, " Optimizers that need no schedule do worse: the nearest, rival, is 0.1 higher ("),
        (NOISY, " No difference is shown to an optimizer that needs no schedule: the nearest, rival, is "),
        (
            [9.0] * 5 + [math.inf],
            " The optimizers that need no schedule, rival, diverged or failed at least once.",
        ),
    ],
)
def test_how_a_rival_compares_is_told_in_words(losses, words):
    """Behind the sentence on the winner, which is what it is without."""
    alone = {"trial 7": CLEAR, "the recipe": [x + 1 for x in WORSE]}
    found = verdict(confirmation({**alone, "rival": losses}))
    assert words in found.sentence
    assert better_rivals(found) == []
    assert found.sentence.startswith("Use trial 7. On 3 fresh seeds that did not select it, ")


def test_the_nearest_rival_is_named_and_the_lost_one_too():
    """Whatever their order."""
    losses = {
        "trial 7": CLEAR,
        "rival A": [math.inf] * 6,
        "rival B": WORSE,
        "rival C": [x + 1 for x in WORSE],
    }
    sentence = verdict(confirmation(losses)).sentence
    assert "do worse: the nearest, rival B, is 0.1 higher (" in sentence
    assert sentence.endswith("; rival A diverged or failed at least once.")


def test_a_rival_is_no_baseline():
    """Where the study has none, that is said."""
    found = verdict(confirmation({"trial 7": CLEAR, "rival": WORSE}))
    assert "There was no baseline to compare it with. Optimizers that need no schedule" in found.sentence


def test_a_rival_that_is_shown_to_be_better_is_named_before_a_noisy_one_with_a_smaller_mean():
    """As the report shows its lines of PyTorch; and one that is shown to be worse hides no other."""
    alone = {"trial 7": WORSE, "the recipe": [x + 1 for x in WORSE]}
    noisy = [x + shift for x, shift in zip(WORSE, [0, 0, 0, -0.6, 0.2, -0.1], strict=True)]
    found = verdict(confirmation({**alone, "rival one": noisy, "rival two": CLEAR}))
    assert "is shown to be better: the best, rival two, is 0.1 lower" in found.sentence
    wide = [x + shift for x, shift in zip(WORSE, [0, 0, 0, 0.9, -0.3, 0.2], strict=True)]
    found = verdict(confirmation({**alone, "rival one": [x + 0.1 for x in WORSE], "rival two": wide}))
    assert "No difference is shown to an optimizer that needs no schedule: the nearest, rival two," in (
        found.sentence
    )


def test_a_rival_that_lost_a_run_is_not_recommended():
    """Wherever it was lost, as with trials and baselines."""
    losses = {"trial 7": WORSE, "the recipe": [x + 1 for x in WORSE], "rival": [INF, *CLEAR[1:]]}
    found = verdict(confirmation(losses))
    assert better_rivals(found) == []
    assert found.sentence.endswith("no schedule, rival, diverged or failed at least once.")


def test_a_rival_without_a_winner_is_told_by_its_own_loss():
    """Where all others have diverged, or the winner has where it was not selected."""
    lost = {"trial 7": [INF] * 6, "the recipe": [INF, *CLEAR[1:]], "rival": CLEAR}
    said = verdict(confirmation(lost)).sentence
    assert said.startswith("Nothing can be recommended: on 3 fresh seeds each of the 2 candidates diverged")
    assert "Of the optimizers that need no schedule, rival has a loss of 0.5133 (" in said
    later = {"trial 7": [*CLEAR[:5], INF], "the recipe": WORSE, "rival": WORSE}
    said = verdict(confirmation(later)).sentence
    assert said.startswith("Trial 7 was best on the seeds that select, but diverged or failed on one")
    assert "rival has a loss of 0.6133 (" in said


def test_the_baseline_that_may_do_as_well_is_the_one_that_the_sentence_names():
    """Not a nearer one that is shown to be worse, and none that lost a run."""
    noisy = [*WORSE[:3], 0.49, 0.56, 0.51]
    near = [x + 0.005 for x in CLEAR]
    found = verdict(confirmation({"trial 1": CLEAR, "near": near, "noisy": noisy, "lost": [INF, *CLEAR[1:]]}))
    assert "that of noisy is " in found.sentence
    assert nearest_baseline(found).candidate.name == "noisy"
    without = verdict(confirmation({"trial 1": CLEAR, "lost": [INF, *CLEAR[1:]]}))
    assert nearest_baseline(without) is None
    assert without.sentence.endswith("lower than that of every baseline: lost diverged or failed.")
