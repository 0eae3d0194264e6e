"""Where what a study trains comes from: lrsearch, code of the user's, an object, or a script."""

from lrsearch.code import is_reference
from lrsearch.spec.study_spec import StudySpec

EXTERNAL = "external"  # the task of a study whose training is a script of the user's
OBJECT = " (Python object)"  # ends the name of a task that was given as an object of a program
TASK_TRIALS = 40  # budget of a study that only its task describes


def is_trained_by_commands(spec: StudySpec) -> bool:
    """Return whether a command can train a study's task: it finds neither objects nor code in a script."""
    return spec.task != EXTERNAL and not spec.task.endswith(OBJECT)


def references(spec: StudySpec) -> tuple[str, ...]:
    """Return the references of the user's code that a specification needs, its task's first."""
    return tuple(name for name in (spec.task, *(spec.space.kinds or ())) if is_reference(name))
