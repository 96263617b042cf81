"""What rooms' programs may not ask of the kernel, as the filter that bubblewrap takes; by libseccomp, which container
runtimes need as well."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterator
from functools import cache

from roommate.errors import SandboxError
from roommate.sandbox.seccomp import FORBIDDEN, MISSING, NEW_NAMESPACE

_LIBRARY = "libseccomp.so.2"
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # the latter with an errno(3): see seccomp_init(3)
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_EQUAL, _GREATER, _MASKED_EQUAL = 4, 6, 7  # enum scmp_compare
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@cache
def compiled() -> bytes:
    """Classic BPF. What is not refused is allowed: who it is for has no capabilities, and cannot have others' programs.

    Raises SandboxError.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise SandboxError(f"bubblewrap needs {_LIBRARY}: `apt install libseccomp2`") from error
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    try:
        for name, action, compare in _rules():
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:  # one that this library does not know yet
                continue
            found = (_Compare * 1)(compare) if compare else None
            library.seccomp_rule_add_array(
                context, ctypes.c_uint32(action), number, ctypes.c_uint(1 if compare else 0), found
            )
        with tempfile.TemporaryFile() as file:
            if library.seccomp_export_bpf(context, file.fileno()):
                raise SandboxError(f"{_LIBRARY} gives no filter for this machine")
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


def _rules() -> Iterator[tuple[str, int, _Compare | None]]:
    yield from ((name, _REFUSE | _EPERM, None) for name in FORBIDDEN)
    yield from ((name, _REFUSE | _ENOSYS, None) for name in MISSING)
    flags = [1 << bit for bit in range(32) if NEW_NAMESPACE & 1 << bit]
    yield from (("clone", _REFUSE | _EPERM, _Compare(0, _MASKED_EQUAL, flag, flag)) for flag in flags)
    for family in range(max(_FAMILIES)):
        if family not in _FAMILIES:
            yield "socket", _REFUSE | _EAFNOSUPPORT, _Compare(0, _EQUAL, family, 0)
    yield "socket", _REFUSE | _EAFNOSUPPORT, _Compare(0, _GREATER, max(_FAMILIES), 0)
