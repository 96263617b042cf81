"""The rooms' seccomp profile: the host's own default one less what nobody needs in a room and escapes are made of."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from roommate.domain import JsonObject
from roommate.host import durable_files, folder_modes

_ALLOW = "SCMP_ACT_ALLOW"
_REFUSE = "SCMP_ACT_ERRNO"
_EPERM, _ENOSYS = 1, 38

FORBIDDEN = (
    # Namespaces and mounts: a user namespace gives all capabilities in it, and most of the kernel to attack.
    *("unshare", "setns", "mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "open_tree_attr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "pivot_root", "chroot"),
    # Into other processes, and around file permissions.
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    *("open_by_handle_at", "name_to_handle_at", "fanotify_init", "fanotify_mark", "lookup_dcookie"),
    # The kernel's own: keyrings are not of a namespace, the rest is for administrators.
    *("keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "syslog", "quotactl", "quotactl_fd"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "modify_ldt", "vm86", "vm86old"),
)
# Said to be missing, so that programs take the way that they know from older kernels: glibc falls back to clone, libuv
# to epoll. clone3 has its flags in memory, where a filter cannot look; socketcall its address family. All that the host
# has of io_setup's requests (fs.aio-max-nr) one process can take: databases know kernels without.
MISSING = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "socketcall", "io_setup")

NEW_NAMESPACE = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET, see clone(2)."""

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_NETLINK_AUDIT = 9


def derive(default: JsonObject) -> JsonObject:
    """Our profile from a default one (JSON as in containers-seccomp.json(5)); `default` stays as it is.

    Everything that the default refuses stays refused. Sockets are those of Unix, IP and netlink: others, AF_VSOCK to
    the machine's host before all, know no network namespace or have no use in a room.
    """
    profile = copy.deepcopy(default)
    ours = {*FORBIDDEN, *MISSING, "clone", "socket", "prlimit64"}
    kept = []
    for rule in profile.get("syscalls", []):
        rule["names"] = [name for name in _names(rule) if name not in ours]
        rule.pop("name", None)
        if rule["names"]:
            kept.append(rule)
    profile["syscalls"] = [*kept, *_rules()]
    return profile


def write(default: Path, target: Path) -> bool:
    """Derive the profile of `default` into `target`; False where there is no default to derive from."""
    try:
        profile = derive(json.loads(default.read_text()))
    except (OSError, ValueError):
        return False
    folder_modes.private(target.parent)
    durable_files.replace(target, json.dumps(profile).encode())
    return True


def _rules() -> list[JsonObject]:
    s390 = ["s390", "s390x"]  # there the flags are clone's second argument
    return [
        {"names": list(FORBIDDEN), "action": _REFUSE, "errnoRet": _EPERM},
        {"names": list(MISSING), "action": _REFUSE, "errnoRet": _ENOSYS},
        {"names": ["clone"], "action": _ALLOW, "args": [_no_namespace(0)], "excludes": {"arches": s390}},
        {"names": ["clone"], "action": _ALLOW, "args": [_no_namespace(1)], "includes": {"arches": s390}},
        *(
            {"names": ["socket"], "action": _ALLOW, "args": [_compare(0, "EQ", family)]}
            for family in (_UNIX, _INET, _INET6)
        ),
        # Of oneself only: with a limit of 0 open files for the hand a room would end its own tools.
        {"names": ["prlimit64"], "action": _ALLOW, "args": [_compare(0, "EQ", 0)]},
        # As the default profile has it: a program that finds an audit socket believes that it must use it.
        {
            "names": ["socket"],
            "action": _ALLOW,
            "args": [_compare(0, "EQ", _NETLINK), _compare(2, "NE", _NETLINK_AUDIT)],
        },
    ]


def _no_namespace(index: int) -> JsonObject:
    return _compare(index, "MASKED_EQ", NEW_NAMESPACE, 0)


def _compare(index: int, operator: str, value: int, second: int = 0) -> JsonObject:
    return {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{operator}"}


def _names(rule: dict[str, Any]) -> list[str]:
    return list(rule.get("names") or ([rule["name"]] if rule.get("name") else []))
