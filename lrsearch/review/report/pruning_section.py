"""The section on pruning: what it saved, what it stopped when, and whether it was right to."""

from collections.abc import Sequence

from lrsearch.review.report.commands import Commands
from lrsearch.review.report.figure import Absent, Figure
from lrsearch.review.report.html import command, figure_block, paragraph, table
from lrsearch.review.report.pruning import AuditFindings, audit_findings
from lrsearch.review.report.trials import ShownStudy


def pruning_section(study: ShownStudy, figures: Sequence[Figure | Absent], commands: Commands) -> str:
    """Return the section.

    Args:
        study: whose pruning.
        figures: of it.
        commands: about the study.
    """
    found = audit_findings(study)
    first, *others = [figure_block(figure) for figure in figures]
    audit = _audit(study, found) if found else _without_audit(study, commands)
    return (
        f'<section id="stopping"><h2>Pruning</h2>{paragraph(_saved(study), "lead")}{first}'
        f"<h3>Was it right to stop them?</h3>{audit}{''.join(others)}</section>"
    )


def _saved(study: ShownStudy) -> str:
    stopped = study.counts["stopped"]
    if not study.ended:
        return "No trial has ended yet."
    if not stopped:
        why = "This study has no pruner." if study.spec.pruner == "none" else "The pruner stopped no trial."
        return f"{why} Every trial that neither diverged nor failed trained to its end."
    whole = study.epochs * len(study.ended)
    return (
        f"The pruner ({study.spec.pruner}) stopped {stopped} of {len(study.ended)} trials and saved "
        f"{study.epochs_saved:,} of {whole:,} epochs ({study.epochs_saved / whole:.0%})."
    )


def _without_audit(study: ShownStudy, commands: Commands) -> str:
    if not study.counts["stopped"]:
        return paragraph("Nothing was stopped, so there is nothing to audit.")
    words = "Not known: nobody has looked at what the stopped trials would have become."
    if commands.audit is None:
        return paragraph(words)
    return paragraph(f"{words} Train a sample of them to their end:") + command(commands.audit)


def _audit(study: ShownStudy, found: AuditFindings) -> str:
    rows = []
    for kind in study.kinds:
        entering, audited = found.of_kind(kind)
        if found.stopped[kind]:
            rows.append((kind, str(found.stopped[kind]), str(audited), str(entering) if audited else "-"))
    head = ("schedule", "stopped", "audited", "would have entered the best tenth")
    return paragraph(found.sentence) + table(head, rows, numeric=(1, 2, 3))
