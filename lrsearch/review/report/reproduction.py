"""The last section: with what the study was made, and how to make it again."""

import shlex
from collections.abc import Mapping
from typing import Any

import tomlkit

from lrsearch.review.advice import how_to_confirm
from lrsearch.review.report.commands import Commands
from lrsearch.review.report.html import code_block, command, paragraph, table
from lrsearch.review.report.trials import ShownStudy
from lrsearch.spec import EXTERNAL, OBJECT, references

FILE = "study.toml"
DIGESTS = ("data", "model")


def reproduction(study: ShownStudy, commands: Commands) -> str:
    """Return the section: the study file, the versions, the data's fingerprint, the commands."""
    content = tomlkit.dumps(_inlined(study.spec.identity()))
    if study.spec.task == EXTERNAL:
        how = paragraph("The trials were trained by code of your own; it belongs to this file:")
        run = commands.go_on
    elif study.spec.task.endswith(OBJECT):
        how = paragraph("The task was an object of a program of your own; this is what was searched for it:")
        run = commands.go_on
    else:
        how = paragraph(f"Save this as {FILE}; it says all that the study searched:")
        allowed = (word for name in references(study.spec) for word in ("--allow-task", name))
        run = shlex.join(["lrsearch", "optimize", FILE, *allowed])
    return (
        f'<section id="reproduce"><h2>How to reproduce</h2>{how}{code_block(content, "the study file")}'
        f"{command(run)}{_examinations(study, commands)}{_origin(study)}"
        f"{paragraph('This report again:')}{command(commands.report)}</section>"
    )


def _examinations(study: ShownStudy, commands: Commands) -> str:
    """Return the commands that led to the verdict and to the audit; nothing where there were none."""
    confirmation, audit = study.facts.confirmation, study.facts.audit
    lines = []
    if confirmation is not None:
        top = sum(each.trial is not None for each in confirmation.candidates)
        rivals = any(each.is_rival for each in confirmation.candidates)
        seeds = len(confirmation.seeds)
        lines.append(
            how_to_confirm(study.spec, commands.storage, top=top or None, seeds=seeds, rivals=rivals) or ""
        )
    if audit is not None and commands.audit is not None:
        lines.append(f"{commands.audit.partition(' --sample')[0]} --sample {len(audit.runs)}")
    note = "Several workers find other trials each time: which points are proposed depends on who ends first."
    return "".join(map(command, lines)) + paragraph(note, "note")


def _inlined(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a study file with its ranges on one line each, and plain values before tables."""
    content: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping) and "low" in value:
            content[name] = tomlkit.inline_table()
            content[name].update(value)
        else:
            content[name] = _inlined(value) if isinstance(value, Mapping) else value
    return dict(sorted(content.items(), key=lambda item: type(item[1]) is dict))


def _origin(study: ShownStudy) -> str:
    origin = study.facts.origin
    if not origin:
        return paragraph("With which versions and data it was made is not stored for this study.", "note")
    digests = [(f"{name} (BLAKE2b)", origin[name]) for name in DIGESTS if name in origin]
    versions = [(name, value) for name, value in origin.items() if name not in DIGESTS]
    devices = sorted({worker.device for worker in study.facts.workers})
    trained = [("trained on", ", ".join(devices))] if devices else []
    rows = table(("what", "version"), [*versions, *digests, *trained], kind="facts")
    return f"<h3>Versions and data</h3>{rows}"
