# SPDX-License-Identifier: Apache-2.0
"""Compiles C with bcc, in a child process, so that the daemon never has LLVM (over 100 MB) in its memory.

`compile_program` runs `python -m xdplb.dataplane.compile` with a request as JSON on its stdin. The child compiles, lets
bcc pick up the maps that are pinned where the source says, loads the functions, pins them, and answers in JSON on
its stdout, with the instructions that it has loaded. The compiler and the verifier print to its stderr, the end of
which goes into the error.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xdplb.capabilities import NET_ADMIN, SYS_ADMIN, keep_only
from xdplb.model.errors import PlatformError

from . import kernel_headers
from .instructions import Instructions, split
from .libbpf import Fd, call, obj_pin

__all__ = ["CompileRequest", "compile_program", "require_bcc"]

TIMEOUT_SECONDS = 180
PR_SET_PDEATHSIG = 1
LOG_LINES = 25
NEEDED = (NET_ADMIN, SYS_ADMIN)
"""The compiler's capabilities. bcc opens pinned maps by their ids, for which the kernel asks CAP_SYS_ADMIN."""


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """One C text and its flags; `programs` maps each function to load to the path where it is pinned.

    `for_tc`: they are programs of tc's kind, not of XDP's.
    """

    text: str
    flags: list[str] = field(default_factory=list)
    programs: dict[str, str] = field(default_factory=dict)
    for_tc: bool = False


def compile_program(
    text: str, flags: list[str], programs: dict[str, Path], *, cache_dir: Path | None = None, for_tc: bool = False
) -> dict[str, Instructions]:
    """Compile `text`, load each function of `programs`, pin it at its path; return what was loaded, by function.

    They are XDP programs, or with `for_tc` what tc runs.

    Maps declared with a pin path are used if pinned there: create them first. `cache_dir` keeps merged kernel headers.
    PlatformError says what is missing on this host, or ends with the output of the compiler or the verifier.
    """
    request = CompileRequest(text, flags, {name: str(path) for name, path in programs.items()}, for_tc)
    environment = dict(os.environ)
    headers = kernel_headers.find(cache_dir)
    if headers is not None:
        environment["BCC_KERNEL_SOURCE"] = str(headers)
    scratch = kernel_headers.scratch(cache_dir)
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
    answer, log = _run_child(request, environment)
    if answer is None:
        raise PlatformError("the compiler process ended without a result" + log, hint="see `dmesg`")
    if "error" in answer:
        detail, hint = _explain(answer, flags)
        raise PlatformError(detail + (log if answer["error"] in {"compile", "load"} else ""), hint=hint)
    return {
        name: Instructions(base64.b64decode(loaded["code"]), tuple(loaded["map_ids"]))
        for name, loaded in answer["loaded"].items()
    }


def require_bcc() -> None:
    """Raise PlatformError, which names the Debian package, unless this Python has bcc. Does not load it, nor LLVM."""
    found = importlib.util.find_spec("bcc")
    if found is None:
        raise _bcc_error({"error": "no-bcc", "detail": "No module named 'bcc'"})
    if found.origin is None or not Path(found.origin).with_name("libbcc.py").exists():
        raise _bcc_error({"error": "wrong-bcc", "detail": str(found.origin)})


def _bcc_error(answer: dict[str, Any]) -> PlatformError:
    detail, hint = _explain(answer, [])
    return PlatformError(detail, hint=hint)


def _run_child(request: CompileRequest, environment: dict[str, str]) -> tuple[dict[str, Any] | None, str]:
    # -P: a file bcc.py in the current folder must not be taken for bcc.
    command = [sys.executable, "-P", "-m", "xdplb.dataplane.compile", str(os.getpid())]
    try:
        child = subprocess.run(
            command,
            input=json.dumps(asdict(request)),
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PlatformError(
            f"compiling the packet path took more than {TIMEOUT_SECONDS} seconds",
            hint="try again when the host is less loaded",
        ) from None
    last = child.stdout.strip().rpartition("\n")[2]
    log = "\n".join(child.stderr.strip().splitlines()[-LOG_LINES:])
    try:
        return json.loads(last), f":\n{log}" if log else ""
    except ValueError:
        return None, f" (exit status {child.returncode}):\n{log}"


def _explain(answer: dict[str, Any], flags: list[str]) -> tuple[str, str]:
    """Return the sentence and the hint for a failure the child reports."""
    detail = str(answer.get("detail", ""))
    debian = "apt-get install python3-bpfcc, and a venv made by /usr/bin/python3 -m venv --system-site-packages"
    match answer["error"]:
        case "no-bcc":
            return f"this Python ({sys.executable}) has no bcc: {detail}", debian
        case "wrong-bcc":
            return f"the module bcc at {detail} is another project of that name", f"pip uninstall bcc; then {debian}"
        case "compile" | "load" if answer.get("permission"):
            return "this process may not load a BPF program", "run it as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"
        case "compile":
            return "bcc could not compile the packet path", "check the kernel headers with `xdplb doctor`"
        case "load":
            return _explain_load(answer, flags)
        case _:
            return f"the program could not be pinned: {detail}", "mount -t bpf bpf /sys/fs/bpf, or set --pin-dir"


def _explain_load(answer: dict[str, Any], flags: list[str]) -> tuple[str, str]:
    if not answer["gave_up"]:
        return f"the kernel refused the program: {answer['detail']}", "please report it with the log and `uname -r`"
    features = ", ".join(_features(flags)) or "nothing but IPv4"
    return (
        f"this kernel's verifier cannot check a program with all of these features: {features}",
        "newer kernels can check more; or use fewer of these on one host, see docs/kernels.md",
    )


def _features(flags: list[str]) -> list[str]:
    """Return what the flags compile in, in the words of features.py."""
    prefix = "-DWITH_"
    return [flag.removeprefix(prefix).partition("=")[0].lower() for flag in flags if flag.startswith(prefix)]


def _child(request: CompileRequest) -> dict[str, Any]:
    """Compile, load and pin; return the answer. Runs in the child only: bcc is imported here and nowhere else."""
    try:
        import bcc  # noqa: PLC0415
    except ImportError as error:
        return {"error": "no-bcc", "detail": str(error)}
    if not hasattr(bcc, "BPF"):
        return {"error": "wrong-bcc", "detail": str(getattr(bcc, "__file__", "?"))}
    try:
        module = bcc.BPF(text=request.text, cflags=request.flags)
    except Exception as error:  # bcc raises no narrower class
        return {"error": "compile", "detail": str(error), "permission": _lacks_rights()}
    loaded = {}
    for name, path in request.programs.items():
        try:
            function = module.load_func(name, bcc.BPF.SCHED_CLS if request.for_tc else bcc.BPF.XDP)
        except Exception as error:
            gave_up = os.strerror(errno.E2BIG) in str(error)
            return {"error": "load", "detail": str(error), "permission": _lacks_rights(), "gave_up": gave_up}
        try:
            obj_pin(Fd(os.dup(function.fd)), Path(path))
        except OSError as error:
            return {"error": "pin", "detail": f"{path}: {error.strerror}"}
        instructions = split(module.dump_func(name))
        loaded[name] = {"code": base64.b64encode(instructions.code).decode(), "map_ids": instructions.map_ids}
    return {"loaded": loaded}


def _lacks_rights() -> bool:
    """Whether the kernel refused for a missing capability: bcc and the programs' maps are opened by their ids."""
    try:
        call("bpf_map_get_next_id", 0, ctypes.byref(ctypes.c_uint32()))
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _end_with(parent: int) -> None:
    """End when `parent` does: a compiler that outlives it would pin its program while the next `up` runs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        sys.exit(1)


def _main() -> None:
    _end_with(int(sys.argv[1]))
    keep_only(NEEDED)
    request = CompileRequest(**json.load(sys.stdin))
    sys.stdout.write(json.dumps(_child(request)) + "\n")


if __name__ == "__main__":
    _main()
