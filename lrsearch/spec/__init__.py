"""What a study is: read from a file, checked, and written out in full."""

from lrsearch.optimizers import OPTIMIZERS, optimizer_named
from lrsearch.spec.reading import blamed_on, read_spec, spec_from
from lrsearch.spec.resolution import (
    EXTERNAL,
    SCANS,
    check_same_study,
    hyperparameters,
    hyperparameters_by_part,
    largest_warmup_fraction,
    plain_name,
    resolve,
    search_space,
)
from lrsearch.spec.study_spec import GroupsSpec, OptimizerSpec, RangeTestSpec, RunSpec, SpaceSpec, StudySpec

__all__ = [
    "EXTERNAL",
    "OPTIMIZERS",
    "SCANS",
    "GroupsSpec",
    "OptimizerSpec",
    "RangeTestSpec",
    "RunSpec",
    "SpaceSpec",
    "StudySpec",
    "blamed_on",
    "check_same_study",
    "hyperparameters",
    "hyperparameters_by_part",
    "largest_warmup_fraction",
    "optimizer_named",
    "plain_name",
    "read_spec",
    "resolve",
    "search_space",
    "spec_from",
]
