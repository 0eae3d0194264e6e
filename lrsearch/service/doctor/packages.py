"""Checks of Python and of the packages, against what the installed lrsearch says that it needs."""

import platform
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import lrsearch
from lrsearch.service.doctor.finding import Finding, ok, warning, wrong

PRODUCT = "lrsearch"
FOR_DEVELOPERS = frozenset({"test", "dev"})
SHOWN = ("torch", "optuna")  # the others only if something is wrong with them


def check_python() -> Iterator[Finding]:
    """Compare Python's version with the supported ones."""
    version, needed = platform.python_version(), metadata.metadata(PRODUCT)["Requires-Python"]
    if SpecifierSet(needed).contains(version, prereleases=True):
        yield ok("Python", version)
    else:
        yield wrong("Python", f"{version}, but lrsearch needs {needed}", f"install Python {needed}")


def check_packages() -> Iterator[Finding]:
    """Compare the installed packages with those that are needed."""
    yield ok(PRODUCT, lrsearch.__version__)
    needed = [requirement for requirement in _requirements() if _applies(requirement, "")]
    unfit = _unfit(needed)
    for requirement in needed:
        if requirement.name in unfit:
            yield wrong(requirement.name, unfit[requirement.name], _install(str(requirement)))
        elif requirement.name in SHOWN:
            yield ok(
                requirement.name, f"{metadata.version(requirement.name)} (supported: {_range(requirement)})"
            )
    others = len(needed) - len(unfit)
    yield ok("packages", f"{others} of {len(needed)} that are needed are installed in supported versions")


def check_extras() -> Iterator[Finding]:
    """Say which optional parts are installed; one that is there must have a supported version."""
    for extra in metadata.metadata(PRODUCT).get_all("Provides-Extra") or ():
        if extra in FOR_DEVELOPERS:
            continue
        needed = [each for each in _requirements() if _applies(each, extra) and not _applies(each, "")]
        missing = [each for each in needed if _version(each.name) is None]
        unfit = _unfit(each for each in needed if each not in missing)
        if missing:
            yield ok(f"extra {extra}", f"not installed; if you need it: pip install '{PRODUCT}[{extra}]'")
        elif unfit:
            found = "; ".join(f"{name} {problem}" for name, problem in unfit.items())
            yield warning(f"extra {extra}", found, _install(f"{PRODUCT}[{extra}]"))
        else:
            found = ", ".join(f"{each.name} {metadata.version(each.name)}" for each in needed)
            yield ok(f"extra {extra}", f"installed: {found}")


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in metadata.requires(PRODUCT) or ()]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _unfit(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Return what is wrong with packages, by name."""
    unfit = {}
    for requirement in requirements:
        version = _version(requirement.name)
        if version is None:
            unfit[requirement.name] = "not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            unfit[requirement.name] = f"{version}, but lrsearch needs {_range(requirement)}"
    return unfit


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _range(requirement: Requirement) -> str:
    return str(requirement.specifier) or "any"


def _install(what: str) -> str:
    return f"pip install --upgrade '{what.partition(';')[0].strip()}'"
