"""Code that the user names, ``package.module:name`` or ``path/to/file.py:name``; imported only if allowed."""

import importlib
import importlib.util
import os
import re
import shlex
import sys
import sysconfig
import traceback
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from lrsearch.errors import CodeError, CodeNotAllowedError, suggestion

_REFERENCE = re.compile(r"(?P<where>.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")
_MACHINERY = (
    str(Path(__file__).parent) + os.sep,
    str(Path(importlib.__file__).parent) + os.sep,
    "<frozen importlib",
)
_sources: dict[str, bytes] = {}  # what was executed, by module name: a file that has changed is loaded anew
_LIBRARY_FOLDERS = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))


def is_reference(text: str) -> bool:
    """Return whether a name means the user's code: ``package.module:name`` or ``path/to/file.py:name``."""
    return _REFERENCE.fullmatch(text) is not None


def load(reference: str, allowed: Collection[str]) -> object:
    """Return what a reference names, after importing its module or file.

    A file becomes one module however often it is loaded, so that its classes can be pickled; one that has
    changed since is loaded anew. Modules are
    looked for in the working directory first, and a file's imports in its own folder, as Python does.

    Args:
        reference: ``package.module:name`` or ``path/to/file.py:name``; the path is taken from the working
            directory.
        allowed: references that the user named on the command line or allowed.

    Raises:
        CodeNotAllowedError: the reference is not among the allowed ones; nothing is imported.
        CodeError: the text is no reference, there is no such file, module or name, or importing it fails.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise CodeError(f"{reference!r} names no code; write package.module:name or path/to/file.py:name")
    if reference not in allowed:
        others = f" (allowed is {', '.join(map(repr, sorted(allowed)))})" if allowed else ""
        raise CodeNotAllowedError(
            f"{reference!r} is code that would be imported and run; if you trust it, allow it{others}: "
            f"--allow-task {shlex.quote(reference)}"
        )
    where, name = match["where"], match["name"]
    module = _file_module(Path(where)) if where.endswith(".py") else _module(where)
    if not hasattr(module, name):
        raise CodeError(f"{where} has no {name!r}.{suggestion(name, _names(module))}")
    return getattr(module, name)


def user_traceback(error: BaseException) -> str:
    """Return an exception with the user's frames only: none of lrsearch, Python's library or packages.

    Where the user's code has no part in it, the frames of packages are shown.
    """
    shown = traceback.TracebackException.from_exception(error)
    for part in _chain(shown):
        frames = [frame for frame in part.stack if not _is_machinery(frame.filename)]
        users = [frame for frame in frames if not frame.filename.startswith(_LIBRARY_FOLDERS)]
        part.stack = traceback.StackSummary.from_list(users or frames)
    return "".join(shown.format()).rstrip()


def user_frame(error: BaseException) -> str | None:
    """Return the innermost of the user's frames as ``file:line in function``, or None."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not _is_machinery(frame.filename) and not frame.filename.startswith(_LIBRARY_FOLDERS):
            return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return None


def _module(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failure(name, error) from None
        raise CodeError(
            f"there is no module {error.name!r}; looked in {Path.cwd()} and in Python's path. "
            "A file can be named too: path/to/file.py:name"
        ) from None
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise _failure(name, error) from None


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise CodeError(f"there is no file {str(path)!r} in {Path.cwd()}")
    resolved = path.resolve()
    _look_in(resolved.parent)
    name = _module_name(resolved)
    try:
        source = resolved.read_bytes()
        loaded = sys.modules.get(name)
        if loaded is not None and _sources.get(name, source) == source:
            return loaded
        return _executed(name, resolved, source)
    except (Exception, SystemExit) as error:  # whatever a user's file raises
        raise _failure(str(path), error) from None


def _module_name(path: Path) -> str:
    """Return the name under which Python itself would import a file, or one of its own if that is taken."""
    stem = path.stem
    if stem.isidentifier():
        loaded = sys.modules.get(stem)
        found = loaded or importlib.util.find_spec(stem)
        file = getattr(found, "__file__" if loaded else "origin", None)  # a built-in module has no file
        if file is not None and Path(file).resolve() == path:
            return stem
    return f"{stem}_{sha256(str(path).encode()).hexdigest()[:8]}"


def _executed(name: str, path: Path, source: bytes) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name], _sources[name] = module, source
    try:
        # Not by its loader, whose cache takes a file that was saved twice within a second for the same.
        exec(compile(source, str(path), "exec"), module.__dict__)  # allowed by the user
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _failure(where: str, error: BaseException) -> CodeError:
    return CodeError(f"{where} cannot be imported:\n{user_traceback(error)}")


def _names(module: ModuleType) -> Iterator[str]:
    """Yield what a module itself defines, and nothing that it imports."""
    for name, value in vars(module).items():
        home = getattr(value, "__module__", module.__name__) if callable(value) else module.__name__
        if not name.startswith("_") and not isinstance(value, ModuleType) and home == module.__name__:
            yield name


def _chain(shown: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    part: Any = shown
    while part is not None:
        yield part
        part = part.__cause__ or part.__context__


def _is_machinery(filename: str) -> bool:
    return filename.startswith(_MACHINERY)
