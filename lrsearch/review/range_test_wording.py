"""A range test in words, and as the lines of a study file that it suggests."""

from lrsearch.lr_range import (
    WIDENING,
    Growth,
    LrInterval,
    RangeTest,
    Suggestions,
    Zones,
    find_zones,
    search_bounds,
    suggestions,
)

LABEL_WIDTH = 14


def short(lr: float) -> str:
    """Return a learning rate in two digits: a range test knows no more."""
    return f"{lr:.2g}"


def range_test_lines(test: RangeTest) -> list[str]:
    """Return a range test's growth, zones and suggestions, one line each, hints last."""
    zones, suggested = find_zones(test), suggestions(test)
    what = f"{test.task} with {test.settings.get('optimizer', 'an unknown optimizer')}"
    lines = [
        ("range test", what),
        ("growth", growth_formula(test.growth)),
        ("seeds", _seeds(test)),
        ("zones", _zones(zones)),
    ]
    lines += _suggestion_lines(suggested)
    lines += [("hint", hint) for hint in zones.hints]
    return [f"{label:<{LABEL_WIDTH}}{text}" for label, text in lines]


def growth_formula(growth: Growth) -> str:
    """Return how the learning rate grows, as the formula of update i and in words."""
    steps = f"{growth.steps} steps to {growth.high:.4g}"
    if growth.increment is not None:
        return f"lr = {growth.low:.4g} + {growth.increment:.4g} i, {steps} (d = {growth.increment:.4g})"
    return (
        f"lr = {growth.low:.4g} * 2^(i / {growth.doubling_period:.4g}), {steps} "
        f"(doubled every {growth.doubling_period:.4g} steps)"
    )


def space_lines(test: RangeTest, widening: float = WIDENING) -> list[str]:
    """Return the lines of a study file that search where a range test suggests; none if it suggests nothing.

    Args:
        test: the range test.
        widening: factor by which the bounds lie beyond the interval, to both sides.
    """
    bounds = search_bounds(suggestions(test), widening)
    if bounds is None:
        return []
    return [
        "[space]",
        f"lr = {{ low = {bounds.low!r}, high = {bounds.high!r}, log = true }}",
        "",
        "[range_test]",
        f"low = {bounds.interval_low!r}",
        f"high = {bounds.interval_high!r}",
        f"lrs = {list(bounds.lrs)}",
    ]


def _seeds(test: RangeTest) -> str:
    diverged = [lane.updates - 1 for lane in test.lanes if lane.diverged]
    if not diverged:
        return f"{len(test.lanes)}, none diverged"
    step = min(min(diverged), test.steps - 1)
    lr = test.lrs()[step]
    return f"{len(test.lanes)}, {len(diverged)} diverged, the first after {step} steps at lr {short(lr)}"


def _zones(zones: Zones) -> str:
    named = {"too low": zones.too_low, "falling": zones.falling, "rising": zones.rising}
    return ", ".join(f"{name} {_interval(zone)}" for name, zone in named.items())


def _suggestion_lines(suggested: Suggestions) -> list[tuple[str, str]]:
    if suggested.lr is None or suggested.interval is None or suggested.spread is None:
        return [("suggestion", "none")]
    lines = [
        (rule.rule, f"{short(rule.lr):<8} seeds within a factor of {rule.spread:.2f}")
        for rule in suggested.rules
    ]
    consensus = f"{short(suggested.lr):<8} rules within a factor of {suggested.spread:.2f}"
    return [*lines, ("consensus", consensus), ("interval", _interval(suggested.interval))]


def _interval(interval: LrInterval | None) -> str:
    return "none" if interval is None else f"{short(interval.low)} to {short(interval.high)}"
