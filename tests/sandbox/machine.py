"""A machine for seccomp programs: what the kernel does with one, for a system call of one's choice."""

from __future__ import annotations

import struct

from mincemeat.sandbox import filters


def verdict(program: bytes, *, number: int, arch: int, arguments: tuple[int, ...] = ()) -> int:
    """What the program returns. Raises: where the kernel would not have taken it."""
    data = struct.pack("=iIQ6Q", _signed(number), arch, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        code, if_so, if_not, value = instructions[at]
        at += 1
        match code:
            case filters.LOAD:
                assert value % 4 == 0
                (accumulator,) = struct.unpack_from("=I", data, value)
            case filters.AND:
                accumulator &= value
            case filters.RETURN:
                return int(value)
            case filters.IF_EQUAL:
                at += if_so if accumulator == value else if_not
            case filters.IF_AT_LEAST:
                at += if_so if accumulator >= value else if_not
            case filters.IF_ANY_BIT:
                at += if_so if accumulator & value else if_not
            case _:
                raise AssertionError(f"the kernel knows no instruction {code:#x}")


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number
