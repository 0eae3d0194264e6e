"""The learning-rate range test in numbers: growth of the rate, zones of the curve, suggested rates."""

from lrsearch.lr_range.curve import LaneCurve, RangeTest, lane_curve
from lrsearch.lr_range.descent import smoothed_curves
from lrsearch.lr_range.divergence import LossWatch
from lrsearch.lr_range.growth import EXPONENTIAL, GROWTHS, LINEAR, MIN_STEPS, Growth
from lrsearch.lr_range.smoothing import SmoothedCurves
from lrsearch.lr_range.suggestions import (
    RULES,
    WIDENING,
    SearchBounds,
    Suggestion,
    Suggestions,
    search_bounds,
    suggestions,
    widened,
)
from lrsearch.lr_range.zones import LrInterval, Zones, find_zones, zoomed

__all__ = [
    "EXPONENTIAL",
    "GROWTHS",
    "LINEAR",
    "MIN_STEPS",
    "RULES",
    "WIDENING",
    "Growth",
    "LaneCurve",
    "LossWatch",
    "LrInterval",
    "RangeTest",
    "SearchBounds",
    "SmoothedCurves",
    "Suggestion",
    "Suggestions",
    "Zones",
    "find_zones",
    "lane_curve",
    "search_bounds",
    "smoothed_curves",
    "suggestions",
    "widened",
    "zoomed",
]
