"""Reads a pickle without making anything of it: which classes and functions it mentions, and what it does with them.

Decides: which opcodes data needs, and where a name may stand. Does not know: which names are harmless (allowed.py).

A pickle is a program for a machine with a stack. This follows it as that machine would, with a note in place of each
object, and stops at whatever no list of keys and values has in it. What it lets pass has these properties, which the
rest of the room relies on:

* Only what protocol 4 and 5 write: no persistent ids, no extension codes, none of the older opcodes that call things.
* What is called stands in the pickle by its name (STACK_GLOBAL), never as something that was made or found before: so
  an instance with ``__call__`` cannot be called, and there is no way to anything that is not named.
* A class or function is only ever called, and changed by nothing: BUILD, APPENDS, SETITEMS and ADDITEMS apply to what
  the pickle itself has made. Which names make what is changed is told, for an enum's members are shared.
* Tuples and frozensets are at most ``limits.DECODED_DEPTH_MAX`` deep: ``hash`` goes down them without a guard, and ends
  the process some ten thousand levels down.
* What is recalled was remembered: a number of the memo, which the unpickler makes room for, is one of those before.
* Every length is one that is there, so nobody allocates what the bytes only declare.
* Frames end where an opcode ends, and none is in another. The unpickler of CPython forgets what is left of a frame when
  it wants more: it would not see the opcodes that were looked at here (found by fuzzing).

Where the package was built with a C compiler, ``native/mentions.c`` does the same some fifty times as fast;
``MINCEMEAT_COMPILED=0`` leaves it out. tests/decoding compares the two.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, Final, NamedTuple

from mincemeat import limits

# How a name is used: called with arguments (REDUCE), a class of which an instance is made without __init__ (NEWOBJ),
# what it made is changed afterwards (BUILD, APPENDS, SETITEMS, ADDITEMS), or it stands as a value or in one.
CALLED: Final = 1
INSTANTIATED: Final = 2
CHANGED: Final = 4
AS_VALUE: Final = 8

_SOURCE_VERSION: Final = 3
_NAME_BYTES_MAX: Final = 1024


class Mention(NamedTuple):
    """A name in a pickle, and how it is used: some of the above, or 0 where it is dropped again."""

    module: str
    name: str
    uses: int


class Read(NamedTuple):
    """What was found up to the end, or up to ``problem`` at byte ``offset``; "" for none."""

    mentions: list[Mention]
    problem: str
    offset: int


def _find_compiled() -> ModuleType | None:
    if os.environ.get("MINCEMEAT_COMPILED") == "0":
        return None
    try:
        from mincemeat.decoding import _mentions
    except ImportError:  # no compiler when the package was built, or a single file
        return None
    return _mentions if _mentions.SOURCE_VERSION == _SOURCE_VERSION else None  # a build tree that was not built anew


compiled: Any = _find_compiled()


def read(pickle: bytes) -> Read:
    """Follow ``pickle`` to its end. Cost: compiled, a small part of unpickling it; else several times that.

    Memory: compiled, 16 bytes for each object of the pickle.
    """
    if compiled is None:
        return read_plainly(pickle)
    mentions, problem, offset = compiled.read(pickle, limits.DECODED_DEPTH_MAX, limits.DECODED_NAMES_MAX)
    return Read([Mention(*mention) for mention in mentions] if mentions else mentions, problem or "", offset)


def read_plainly(pickle: bytes) -> Read:
    """As ``read``, by Python alone."""
    reading = _Reading(pickle)
    problem = reading.run()
    mentions = [
        Mention(module.decode("utf-8", "backslashreplace"), name.decode("utf-8", "backslashreplace"), uses)
        for module, name, uses in reading.mentions
    ]
    return Read(mentions, problem, reading.at)


# -- notes -----------------------------------------------------------------------------------------------

_ATOM, _TEXT, _TUPLE, _LIST, _DICT, _SET, _NAMED, _MADE = range(8)

# (kind, depth, which name of _NAMED and _MADE), or for _TEXT a number: where it begins, shifted, and its length.
_Note = tuple[int, int, int] | int
_LENGTH_BITS: Final = 11
_LENGTH_MASK: Final = 2**_LENGTH_BITS - 1
_AN_ATOM: Final = (_ATOM, 0, 0)


class _Refused(Exception):
    pass


# Opcode -> bytes behind it, for what becomes an atom.
_ATOMS: Final = {0x4B: 1, 0x4D: 2, 0x4A: 4, 0x4E: 0, 0x47: 8, 0x88: 0, 0x89: 0}
# Opcode -> bytes of the length behind it, and what that counts.
_COUNTED: Final = {
    0x8C: (1, _TEXT), 0x58: (4, _TEXT), 0x8D: (8, _TEXT),
    0x8A: (1, _ATOM), 0x8B: (4, _ATOM),  # numbers
    0x43: (1, _ATOM), 0x42: (4, _ATOM), 0x8E: (8, _ATOM), 0x96: (8, _ATOM),  # bytes, bytearray
}  # fmt: skip
_EMPTY: Final = {0x29: (_TUPLE, 0, 0), 0x5D: (_LIST, 0, 0), 0x7D: (_DICT, 0, 0), 0x8F: (_SET, 0, 0)}


class _Reading:
    """native/mentions.c in Python."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.mentions: list[list[Any]] = []
        self._stack: list[_Note] = []
        self._marks: list[int] = []
        self._memo: list[_Note] = []
        self._frame_end = 0

    def run(self) -> str:
        """Follow it. What most of a block consists of is seen to in this loop, which is what makes it bearable."""
        data, stack, memo, marks = self.data, self._stack, self._memo, self._marks
        size = len(data)
        if size < 2 or data[0] != 0x80 or data[1] not in (4, 5):
            return "begins no pickle of protocol 4 or 5"
        at = start = 2
        frame_end = 0
        try:
            while at < size:
                start = at
                opcode = data[at]
                at += 1
                if opcode == 0x94:  # MEMOIZE
                    if len(stack) <= (marks[-1] if marks else 0):
                        raise _Refused("takes more than there is")
                    memo.append(stack[-1])
                elif opcode in _COUNTED:
                    width, kind = _COUNTED[opcode]
                    length = data[at] if width == 1 else int.from_bytes(data[at : at + width], "little")
                    at += width
                    stack.append(_AN_ATOM if kind == _ATOM else at << _LENGTH_BITS | min(length, _NAME_BYTES_MAX + 1))
                    at += length
                    if at > size:
                        raise IndexError
                elif opcode in _ATOMS:
                    at += _ATOMS[opcode]
                    if at > size:
                        raise IndexError
                    stack.append(_AN_ATOM)
                elif opcode == 0x68:  # BINGET
                    index = data[at]
                    at += 1
                    if index >= len(memo):
                        raise _Refused("recalls what was not remembered")
                    stack.append(memo[index])
                elif opcode in _EMPTY:
                    stack.append(_EMPTY[opcode])
                elif opcode == 0x28:  # MARK
                    marks.append(len(stack))
                else:
                    self.at = at
                    if self._follow(opcode):
                        return ""
                    at = self.at
                    frame_end = self._frame_end
                if start < frame_end < at:
                    raise _Refused("reaches over the end of its frame")
        except _Refused as refused:
            self.at = start
            return str(refused)
        except IndexError:
            self.at = start
            return "is cut"
        self.at = at
        return "is cut"

    def _follow(self, opcode: int) -> bool:
        """One opcode, whose byte has been read; whether it was the last."""
        if opcode == 0x6A:  # LONG_BINGET
            index = self._number(4)
            if index >= len(self._memo):
                raise _Refused("recalls what was not remembered")
            self._stack.append(self._memo[index])
        elif opcode in (0x85, 0x86, 0x87):  # TUPLE1, TUPLE2, TUPLE3
            self._need(opcode - 0x84)
            self._gather(opcode - 0x84, _TUPLE)
        elif opcode == 0x95:  # FRAME
            if self.at <= self._frame_end:
                raise _Refused("begins a frame in a frame")
            length = self._number(8)
            if length > len(self.data) - self.at:
                raise IndexError
            self._frame_end = self.at + length
        elif opcode == 0x2E:  # STOP
            if len(self._stack) != 1 or self._marks or self.at != len(self.data):
                raise _Refused("ends with something left")
            self._use(self._stack[0])
            return True
        else:
            self._follow_rarer(opcode)
        return False

    def _follow_rarer(self, opcode: int) -> None:
        stack = self._stack
        if opcode == 0x65:  # APPENDS
            self._put_in(self._take_mark(), _LIST)
        elif opcode == 0x75:  # SETITEMS
            count = self._take_mark()
            if count % 2:
                raise _Refused("has a key without a value")
            self._put_in(count, _DICT)
        elif opcode == 0x74:  # TUPLE
            self._gather(self._take_mark(), _TUPLE)
        elif opcode == 0x61:  # APPEND
            self._put_in(1, _LIST)
        elif opcode == 0x73:  # SETITEM
            self._put_in(2, _DICT)
        elif opcode == 0x90:  # ADDITEMS
            self._put_in(self._take_mark(), _SET)
        elif opcode == 0x91:  # FROZENSET
            self._gather(self._take_mark(), _ATOM)
        elif opcode == 0x93:  # STACK_GLOBAL
            self._name()
        elif opcode == 0x81:  # NEWOBJ
            self._make(1, INSTANTIATED)
        elif opcode == 0x92:  # NEWOBJ_EX
            self._make(2, INSTANTIATED)
        elif opcode == 0x52:  # REDUCE
            self._make(1, CALLED)
        elif opcode == 0x62:  # BUILD
            self._need(2)
            if _kind(stack[-2]) != _MADE:
                raise _Refused("gives a state to what was not made here")
            self._put_in(1, _MADE)
        elif opcode == 0x30:  # POP
            if self._marks and self._marks[-1] == len(stack):
                self._marks.pop()
            else:
                self._need(1)
                stack.pop()
        elif opcode == 0x31:  # POP_MARK
            count = self._take_mark()
            del stack[len(stack) - count :]
        else:
            raise _Refused("is no opcode of data")

    # -- what opcodes do ---------------------------------------------------------------------------------

    def _number(self, width: int) -> int:
        if len(self.data) - self.at < width:
            raise IndexError
        self.at += width
        return int.from_bytes(self.data[self.at - width : self.at], "little")

    def _need(self, notes: int) -> None:
        if len(self._stack) - (self._marks[-1] if self._marks else 0) < notes:
            raise _Refused("takes more than there is")

    def _take_mark(self) -> int:
        if not self._marks:
            raise _Refused("needs a mark")
        return len(self._stack) - self._marks.pop()

    def _use(self, note: _Note) -> int:
        if isinstance(note, int):
            return 0
        kind, depth, index = note
        if kind == _NAMED:
            self.mentions[index][2] |= AS_VALUE
        return depth

    def _use_last(self, count: int) -> int:
        """How deep the deepest of the last ``count`` notes is, which become part of something."""
        notes = set(self._stack[len(self._stack) - count :]) if count > 3 else self._stack[len(self._stack) - count :]
        return max(map(self._use, notes), default=0)

    def _deepened(self, depth: int, inner: int) -> int:
        depth = max(depth, inner + 1)
        if depth > limits.DECODED_DEPTH_MAX:
            raise _Refused("is nested too deep")
        return depth

    def _gather(self, count: int, kind: int) -> None:
        depth = self._deepened(0, self._use_last(count))
        del self._stack[len(self._stack) - count :]
        self._stack.append((kind, depth, 0))

    def _put_in(self, count: int, kind: int) -> None:
        self._need(count + 1)
        place = len(self._stack) - count - 1
        target = self._stack[place]
        if _kind(target) == _MADE:
            self.mentions[target[2]][2] |= CHANGED  # type: ignore[index]  # what was made is no text
        elif _kind(target) != kind:
            raise _Refused("changes what is no container of its kind")
        inner = self._use_last(count)
        del self._stack[place + 1 :]
        if count:
            found, depth, index = target  # type: ignore[misc]  # nor is a container
            self._stack[place] = (found, self._deepened(depth, inner), index)

    def _make(self, arguments: int, how: int) -> None:
        self._need(arguments + 1)
        named = self._stack[-arguments - 1]
        if isinstance(named, int) or named[0] != _NAMED:
            raise _Refused("calls what is no name")
        if _kind(self._stack[-arguments]) != _TUPLE or (arguments == 2 and _kind(self._stack[-1]) != _DICT):
            raise _Refused("calls with what are no arguments")
        self.mentions[named[2]][2] |= how
        depth = self._deepened(0, self._use_last(arguments))
        del self._stack[-arguments - 1 :]
        self._stack.append((_MADE, depth, named[2]))

    def _name(self) -> None:
        self._need(2)
        words: list[Any] = []
        for note in self._stack[-2:]:
            if not isinstance(note, int) or note & _LENGTH_MASK > _NAME_BYTES_MAX:
                raise _Refused("names by what is no name")
            start = note >> _LENGTH_BITS
            words.append(self.data[start : start + (note & _LENGTH_MASK)])
        if len(self.mentions) >= limits.DECODED_NAMES_MAX:
            raise _Refused("mentions too many names")
        self.mentions.append([*words, 0])
        self._stack[-2:] = [(_NAMED, 0, len(self.mentions) - 1)]


def _kind(note: _Note) -> int:
    return _TEXT if isinstance(note, int) else note[0]
