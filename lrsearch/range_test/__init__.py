"""The learning-rate range test in numbers: growth of the rate, zones of the curve, suggested rates."""

from lrsearch.range_test.curve import LaneCurve, RangeTest, SmoothedCurves, lane_curve, smoothed_curves
from lrsearch.range_test.divergence import LossWatch
from lrsearch.range_test.growth import EXPONENTIAL, GROWTHS, LINEAR, MIN_STEPS, Growth
from lrsearch.range_test.suggestions import RULES, WIDENING, Suggestion, Suggestions, suggestions, widened
from lrsearch.range_test.zones import LrInterval, Zones, find_zones, zoomed

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
    "SmoothedCurves",
    "Suggestion",
    "Suggestions",
    "Zones",
    "find_zones",
    "lane_curve",
    "smoothed_curves",
    "suggestions",
    "widened",
    "zoomed",
]
