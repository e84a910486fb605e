"""Which system calls a sandboxed slot may not make, as a program of the kernel's (seccomp, mode 2).

Decides: the list, and the numbers of two machines. Does not know: how the program is installed.

Why it is there beside Landlock: no version so far refuses sockets of the file system and UDP. Through the first, code
that is kept from every file asks the desktop's service manager, a container daemon or an SSH agent to do it instead.
Nor has Landlock a notion of modes and times of files. And there are kernels that are older than it. What is refused
gives PermissionError, EPERM; ``clone3`` gives ENOSYS, after which C libraries use ``clone``, whose flags can be seen.

    struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }    struct seccomp_data { int nr; u32 arch; u64 ip, args[6]; }

Source: linux/filter.h, linux/seccomp.h, linux/audit.h; asm/unistd_64.h and asm-generic/unistd.h for the numbers.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, NamedTuple, TypeAlias

# For each call: its number on x86_64, and on aarch64 (None: it has no such call). Why, group by group.
_Numbers: TypeAlias = tuple[int | None, int | None]

_REFUSED: Final[dict[str, _Numbers]] = {
    # To speak with anybody: the channel to the worker is open already, and pairs (below) reach nobody else.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # The ring carries out calls that this filter does not see.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Into other processes, which Landlock refuses, too, where it is there.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # What it starts stays in its process group, which is how a worker ends all of it.
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Memory that no limit counts.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # The user's keyring.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Files by other names, and other views of the file system.
    "open_by_handle_at": (304, 265),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    # Whose files are, and attributes of them: Landlock lets a process change those of all files that its user owns.
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # How soon other processes of the user get a disk.
    "ioprio_set": (251, 30),
    # Namespaces: inside of one everybody has privileges, and with them more of the kernel in reach.
    "setns": (308, 268),
    "unshare": (272, 97),
    # Parts of the kernel that have been a way out of sandboxes, and that no data needs.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    # What only root may do: a worker that runs as root gives its slots no privileges, and this is the second lock.
    "acct": (163, 89),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "syslog": (103, 116),
}

# Not done, and said to be: modes and times. For them, too, Landlock has no right, so that a private file would be
# readable for everybody by its name alone; and those who copy or unpack files set them and look no further.
_IGNORED: Final[dict[str, _Numbers]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}

# Of the calling process only: each of these arguments is to be 0. Else a slot could make the worker the last to run.
_OF_ONESELF: Final[dict[str, tuple[_Numbers, tuple[int, ...]]]] = {
    "prlimit64": ((302, 261), (0,)),
    "sched_setaffinity": ((203, 122), (0,)),
    "sched_setparam": ((142, 118), (0,)),
    "sched_setscheduler": ((144, 119), (0,)),
    "sched_setattr": ((314, 274), (0,)),
    "setpriority": ((141, 140), (0, 1)),
}


class Machine(NamedTuple):
    """What the program must know of a processor: AUDIT_ARCH_*, and the numbers of the calls it looks into."""

    arch: int
    column: int
    socketpair: int
    clone: int
    clone3: int
    mmap: int
    # The same kernel takes calls of another kind (x32) from this number on; 0: it does not.
    others_from: int


MACHINES: Final = {
    "x86_64": Machine(0xC000003E, 0, 53, 56, 435, 9, 0x40000000),
    "aarch64": Machine(0xC00000B7, 1, 199, 220, 435, 222, 0),
}

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
REFUSE: Final = _ERRNO | errno.EPERM
IGNORE: Final = _ERRNO | 0
IS_NOT_THERE: Final = _ERRNO | errno.ENOSYS

LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
IF_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K

_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_STREAM: Final = 1
_TYPE_BITS: Final = 0xF
# CLONE_NEW*: mount, cgroup, UTS, IPC, user, PID, network. (Of time there is none by this call.)
_NEW_NAMESPACES: Final = 0x7E020000
_SHARED, _ANONYMOUS, _GROWS_DOWN = 0x01, 0x20, 0x100


class Instruction(NamedTuple):
    """``code``; how many to pass over if it is so, and if not; and a number."""

    code: int
    if_so: int
    if_not: int
    number: int


def program(machine: Machine) -> list[Instruction]:
    """The filter of a slot on such a machine."""
    allow, refuse = Instruction(RETURN, 0, 0, _ALLOW), Instruction(RETURN, 0, 0, REFUSE)
    made = [Instruction(LOAD, 0, 0, _ARCH), Instruction(IF_EQUAL, 1, 0, machine.arch), refuse]
    made.append(Instruction(LOAD, 0, 0, _NUMBER))
    if machine.others_from:
        made += [Instruction(IF_AT_LEAST, 0, 1, machine.others_from), refuse]
    for calls, answer in (
        (_REFUSED, refuse),
        (_IGNORED, Instruction(RETURN, 0, 0, IGNORE)),
        ({"clone3": (machine.clone3, machine.clone3)}, Instruction(RETURN, 0, 0, IS_NOT_THERE)),
    ):
        for numbers in calls.values():
            if (number := numbers[machine.column]) is not None:
                made += [Instruction(IF_EQUAL, 0, 1, number), answer]
    # A pair of streams is a pipe that goes both ways; one of datagrams could still be sent to a name.
    made += _looking_into(
        machine.socketpair,
        [
            _argument(1),
            Instruction(AND, 0, 0, _TYPE_BITS),
            Instruction(IF_EQUAL, 1, 0, _STREAM),
            refuse,
            allow,
        ],
    )
    made += _looking_into(machine.clone, [_argument(0), Instruction(IF_ANY_BIT, 0, 1, _NEW_NAMESPACES), refuse, allow])
    for numbers, arguments in _OF_ONESELF.values():
        if (number := numbers[machine.column]) is not None:
            checks = [
                part for index in arguments for part in (_argument(index), Instruction(IF_EQUAL, 1, 0, 0), refuse)
            ]
            made += _looking_into(number, [*checks, allow])
    # Shared memory without a file, and stacks, are not counted by the limit of memory.
    made += _looking_into(
        machine.mmap,
        [
            _argument(3),
            Instruction(IF_ANY_BIT, 0, 1, _GROWS_DOWN),
            refuse,
            Instruction(AND, 0, 0, _SHARED | _ANONYMOUS),
            Instruction(IF_EQUAL, 0, 1, _SHARED | _ANONYMOUS),
            refuse,
            allow,
        ],
    )
    return [*made, allow]


def packed(instructions: list[Instruction]) -> bytes:
    """The program as the kernel reads it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _looking_into(call: int, then: list[Instruction]) -> list[Instruction]:
    return [Instruction(IF_EQUAL, 0, len(then), call), *then]


def _argument(index: int) -> Instruction:
    """Its lower half, on little-endian machines, which both are."""
    return Instruction(LOAD, 0, 0, _ARGUMENTS + 8 * index)
