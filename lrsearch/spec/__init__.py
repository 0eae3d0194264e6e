"""What a study is: read from a file, checked, and written out in full."""

from lrsearch.optimizers import OPTIMIZERS, optimizer_named
from lrsearch.spec.origin import EXTERNAL, OBJECT, TASK_TRIALS, is_trained_by_commands, references
from lrsearch.spec.reading import blamed_on, read_spec, spec_from
from lrsearch.spec.resolution import (
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
    "OBJECT",
    "OPTIMIZERS",
    "SCANS",
    "TASK_TRIALS",
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
    "is_trained_by_commands",
    "largest_warmup_fraction",
    "optimizer_named",
    "plain_name",
    "read_spec",
    "references",
    "resolve",
    "search_space",
    "spec_from",
]
