"""``python3 -m espnet_plugin …`` is ``python3 …`` with the plug-in's encoders known to ESPnet.

It takes what ``python3`` takes (``-m module``, ``-c code``, a script, a directory or zip
file, ``-`` or nothing for standard input, each with its arguments), so that ESPnet's recipes run
with it unchanged: ``./asr.sh --python "python3 -m espnet_plugin" …``.

Everything runs in this very process, as the ``__main__`` module, so exit codes, signals and
tracebacks are Python's own. :func:`espnet_plugin.register` only leaves an import hook, so a
command that does not import an ESPnet task starts as fast as with ``python3``. Options of
the interpreter itself (``-u``, ``-W``, ``-X``, ``-O`` …) are given to a fresh interpreter that
replaces this one (same process id); ``-V`` and ``-h`` are answered by ``python3``.
Not supported: ``-i``, ``-S`` and ``-x``.

The ESPnet commands of :data:`COMMANDS` are replaced by the plug-in's own of the same name.
"""

from __future__ import annotations

import builtins
import code
import io
import os
import pkgutil
import runpy
import sys
from types import ModuleType

from espnet_plugin.registry import register

COMMANDS = {
    "espnet2.bin.asr_train": "espnet_plugin.bin.asr_train",
    "espnet2.bin.asr_inference": "espnet_plugin.bin.asr_inference",
    "espnet2.bin.asr_inference_k2": "espnet_plugin.bin.asr_inference_k2",
}
"""ESPnet's command -> ours, which takes the same options."""

_FLAGS = "bBdEIOPqsuv"
_FLAGS_WITH_VALUE = "WX"
_ANSWERED_BY_PYTHON = "Vh?"
_LONG_ANSWERED_BY_PYTHON = ("--version", "--help")


def main() -> None:
    """Read the command line as ``python3`` does, and run what it names."""
    flags, kind, target, args = _parse(sys.argv[1:])
    if kind == "python":
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    if flags:
        head = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv[1:])]
        rest = {"-m": ["-m", target], "-c": ["-c", target]}.get(kind, [target] if target else [])
        os.execv(sys.executable, [sys.executable, *flags, *head, *rest, *args])

    register()
    sys.modules["__main__"] = module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if kind == "-m":
        sys.argv[:] = ["-m", *args]
        # What the interpreter itself calls for -m; it runs in sys.modules["__main__"].
        runpy._run_module_as_main(COMMANDS.get(target, target))  # type: ignore[attr-defined]
    elif kind == "-c":
        sys.argv[:] = ["-c", *args]
        _set_first_path("")
        exec(compile(target, "<string>", "exec"), module.__dict__)
    elif kind == "stdin":
        sys.argv[:] = [target, *args]
        _set_first_path("")
        if sys.stdin.isatty():
            code.interact(local=module.__dict__, exitmsg="")
        else:
            module.__file__ = "<stdin>"
            exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec"), module.__dict__)
    else:
        sys.argv[:] = [target, *args]
        _run_path(target, module)


def _parse(args: list[str]) -> tuple[list[str], str, str, list[str]]:
    """Split a command line into the interpreter's options, what to run, and its arguments.

    Returns:
        (options, kind, target, arguments). Kind is ``-m``, ``-c``, ``path``, ``stdin`` or
        ``python``; the last is a question that ``python3`` itself answers.
    """
    flags: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "-" or not word.startswith("-"):
            return flags, "stdin" if word == "-" else "path", word, rest
        if word.startswith(_LONG_ANSWERED_BY_PYTHON):
            return flags, "python", "", []
        if word == "--check-hash-based-pycs":
            flags += [word, _value(word, rest)]
            continue
        if word.startswith("--"):
            _refuse(word)
        for position, letter in enumerate(word[1:], start=2):
            attached = word[position:]
            if letter in "mc":
                return flags, f"-{letter}", attached or _value(f"-{letter}", rest), rest
            if letter in _FLAGS_WITH_VALUE:
                flags += [f"-{letter}", attached or _value(f"-{letter}", rest)]
                break
            if letter in _ANSWERED_BY_PYTHON:
                return flags, "python", "", []
            if letter not in _FLAGS:
                _refuse(f"-{letter}")
            flags.append(f"-{letter}")
    return flags, "stdin", "", []


def _value(option: str, rest: list[str]) -> str:
    if not rest:
        print(f"espnet_plugin: argument expected for the {option} option", file=sys.stderr)
        sys.exit(2)
    return rest.pop(0)


def _refuse(option: str) -> None:
    print(
        f"espnet_plugin: option {option} of python3 is unknown or not supported here; "
        f"try 'python3 -m espnet_plugin -h'",
        file=sys.stderr,
    )
    sys.exit(2)


def _run_path(path: str, module: ModuleType) -> None:
    """Run a script, or the ``__main__.py`` of a directory or zip file, as ``python3 path``."""
    absolute = os.path.abspath(path)
    if pkgutil.get_importer(path) is not None:
        if _path_is_safe():
            sys.path.insert(0, absolute)
        else:
            sys.path[0] = absolute
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    try:
        with io.open_code(absolute) as file:
            source = file.read()
    except OSError as error:
        print(
            f"{sys.executable}: can't open file {absolute!r}: "
            f"[Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        sys.exit(2)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    module.__file__ = absolute
    exec(compile(source, absolute, "exec"), module.__dict__)


def _set_first_path(entry: str) -> None:
    """Put ``entry`` where ``python3 -m`` had put the working directory on ``sys.path``."""
    if not _path_is_safe():
        sys.path[0] = entry


def _path_is_safe() -> bool:
    """Whether -P or -I keep ``python3`` from putting a directory first on ``sys.path``."""
    return bool(sys.flags.isolated or getattr(sys.flags, "safe_path", False))


if __name__ == "__main__":
    main()
