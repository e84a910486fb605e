"""Pickles that do something when they are read: what a worker that lies may send.

Each creates the file ``canary`` if what it names is called, or changes what others share, or breaks the process.
"""

from __future__ import annotations

import copyreg
import importlib
import operator
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.kit import classes

JOB = classes.__name__
_HEAD = b"\x80\x05"


class Gadget(NamedTuple):
    """``value``: opcodes that put one object on the stack, for ``as_value`` and ``as_block``.

    ``fires``: plain pickle creates the canary over it here, which shows that the test would notice.
    """

    name: str
    value: bytes
    fires: bool = False

    def as_value(self) -> bytes:
        return _HEAD + self.value + b"."

    def as_columns(self) -> bytes:
        """As a block has it: a list of one key, a list of one value."""
        return _HEAD + b"]\x8c\x01ka]" + self.value + b"a\x86."


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self) -> Any:
        return self.function, self.arguments, self.state

    def __call__(self) -> None:
        """Only so that pickle takes what it makes for something to call."""


class Named:
    """Pickles as a name, whatever that is."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Pickler(pickle._Pickler):
    """In Python, so that names need not exist. Without memo and frames, so that its opcodes can stand anywhere."""

    write: Any

    def memoize(self, obj: Any) -> None:
        pass

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(name_of(obj.module, obj.name))
        else:
            parent: Any = super()
            parent.save(obj, save_persistent_id)

    def save_reduce(self, func: Any, args: Any, *rest: Any, **more: Any) -> None:
        if isinstance(func, Named):
            self.save(func)
            self.save(args)
            self.write(b"R")
        else:
            parent: Any = super()
            parent.save_reduce(func, args, *rest, **more)


def name_of(module: str, name: str) -> bytes:
    """STACK_GLOBAL of it."""
    return text(module) + text(name) + b"\x93"


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def ops(value: Any) -> bytes:
    """The opcodes that make ``value``, which may hold Call and Named."""
    import io

    file = io.BytesIO()
    pickler: Any = _Pickler(file, 5)
    pickler.framer.start_framing = lambda: None
    pickler.dump(value)
    data = file.getvalue()
    assert data[:2] == _HEAD
    assert data[-1:] == b"."
    return data[2:-1]


def calls(canary: str) -> Iterator[tuple[str, Any, bool]]:
    """Calls of what must not be called: a name for the test, the object, whether it fires here."""
    touch = f"touch {canary}"
    write = f"open({canary!r}, 'w')"
    code = Call(compile, write, "x", "eval")
    yield "os.system", Call(os.system, touch), True
    yield "posix.system", Call(Named("posix", "system"), touch), True
    yield "os.mkdir", Call(os.mkdir, canary), True
    yield "subprocess.Popen", Call(subprocess.Popen, ["touch", canary]), False  # it does not wait
    yield "subprocess.check_output", Call(subprocess.check_output, ["touch", canary]), True
    yield "builtins.eval", Call(eval, write), True
    yield "builtins.exec", Call(exec, write), True
    yield "builtins.compile", Call(exec, code), True
    yield "__builtin__.eval", Call(Named("__builtin__", "eval"), write), False
    yield "builtins.open", Call(open, canary, "w"), True
    yield "io.open", Call(Named("io", "open"), canary, "w"), True
    yield "_io.FileIO", Call(Named("_io", "FileIO"), canary, "w"), True
    yield "builtins.__import__", Call(__import__, "antigravity_of_the_test"), False
    yield "builtins.getattr", Call(getattr, Call(__import__, "os"), "system"), False
    yield "getattr and a call", Call(Call(getattr, Call(__import__, "os"), "system"), touch), False
    yield "builtins.setattr", Call(setattr, Named(JOB, "Point"), "moved", 1), False
    yield "builtins.delattr", Call(delattr, Named(JOB, "Point"), "moved"), False
    yield "builtins.globals", Call(globals), False
    yield "builtins.vars", Call(vars, Named(JOB, "Point")), False
    yield "builtins.type", Call(Named("builtins", "type"), "X", (), {}), False
    yield "builtins.map", Call(list, Call(map, os.mkdir, [canary])), True
    yield "builtins.filter", Call(list, Call(filter, os.mkdir, [canary])), True
    yield "builtins.bytes", Call(bytes, 2**20), False
    yield "builtins.bytearray", Call(Named("builtins", "bytearray"), 2**20), False
    yield "builtins.list", Call(list, range(10)), False
    yield "builtins.input", Call(input), False
    yield "builtins.breakpoint", Call(breakpoint), False
    yield "functools.partial", Call(Named("functools", "partial"), os.mkdir, canary), False
    yield "functools.reduce", Call(Named("_functools", "reduce"), os.mkdir, [canary, 511]), True
    yield "operator.attrgetter", Call(operator.attrgetter("system"), Call(__import__, "os")), False
    yield "operator.methodcaller", Call(operator.methodcaller("mkdir", canary), Call(__import__, "os")), True
    yield "operator.itemgetter", Call(operator.itemgetter(0), [1]), False
    yield "operator.call", Call(Named("operator", "call"), os.mkdir, canary), False
    yield "itertools.starmap", Call(list, Call(Named("itertools", "starmap"), os.mkdir, [(canary,)])), True
    yield "importlib.import_module", Call(importlib.import_module, "this"), False
    yield "runpy.run_path", Call(Named("runpy", "run_path"), canary), False
    yield "codecs.decode", Call(Named("_codecs", "decode"), b"x" * 9, "zip"), False
    yield "codecs.encode", Call(Named("_codecs", "encode"), "x", "latin1"), False
    yield "ctypes.CDLL", Call(Named("ctypes", "CDLL"), canary), False
    yield "pickle.loads", Call(pickle.loads, pickle.dumps(Call(os.mkdir, canary))), True
    yield "_pickle.loads", Call(Named("_pickle", "loads"), pickle.dumps(Call(os.mkdir, canary))), True
    yield "marshal.loads", Call(Named("marshal", "loads"), b"N"), False
    yield "shelve.open", Call(Named("shelve", "open"), canary), True
    yield "types.FunctionType", Call(Named("types", "FunctionType"), code, {}), False
    yield "types.CodeType", Call(Named("types", "CodeType")), False
    yield "shutil.copyfile", Call(shutil.copyfile, __file__, canary), True
    yield "pathlib.Path.touch", Call(Named("pathlib", "Path.touch"), Path(canary)), True
    yield "pathlib.Path", Path(canary), False
    yield "logging.FileHandler", Call(Named("logging", "FileHandler"), canary), True
    yield "tempfile.TemporaryDirectory", Call(Named("tempfile", "TemporaryDirectory")), False
    yield "socket.create_connection", Call(Named("socket", "create_connection"), ("127.0.0.1", 9)), False
    yield "sqlite3.connect", Call(Named("sqlite3", "connect"), canary), True
    yield "timeit.timeit", Call(Named("timeit", "timeit"), write, "", Named("time", "time"), 1), True
    yield "cloudpickle", Call(Named("cloudpickle.cloudpickle", "_make_function"), None), False
    yield "copyreg._reconstructor", Call(Named("copyreg", "_reconstructor"), Named(JOB, "Point"), object, None), False
    yield "copyreg.__newobj__", Call(Named("copyreg", "__newobj__"), Named(JOB, "Point")), False
    yield "sys.exit", Call(Named("sys", "exit"), 3), False
    yield "builtins.SystemExit", Call(SystemExit, 3), False
    yield "builtins.KeyboardInterrupt", Call(KeyboardInterrupt), False
    yield "numpy.load", Call(Named("numpy", "load"), canary, None, True), False
    yield (
        "numpy._reconstruct",
        Call(Named("numpy.core.multiarray", "_reconstruct"), Named("numpy", "ndarray"), (0,), b"b"),
        False,
    )
    yield "numpy dtype", Call(Named("numpy", "dtype"), "V8", False, True), False
    yield "an own dtype of another language", Call(Named("mincemeat.decoding.arrays", "dtype_of"), "i4,(2)f8"), False
    yield (
        "an array of pointers",
        Call(Named("mincemeat.decoding.arrays", "array_of"), [("a", "|O")], (1,), "C", bytearray(8)),
        False,
    )
    yield (
        "an array larger than its bytes",
        Call(Named("mincemeat.decoding.arrays", "array_of"), "<f8", (10**6,), "C", bytearray(8)),
        False,
    )
    yield "a zone that is a path", Call(Named("mincemeat.decoding.forms", "zone_of"), "../../etc/passwd"), False
    yield "another function of ours", Call(Named("mincemeat.decoding.coding", "_import"), "os", "system"), False
    yield "errors.rebuild of a class of others", Call(Named("mincemeat.errors", "rebuild"), "Any", "", {}), False
    yield "a module of ours", Call(Named("mincemeat", "run"), {}), False
    # -- by way of the job's module
    yield "an import of the job's", Call(Named(JOB, "subprocess.call"), ["touch", canary]), True
    yield "a class that the job imported", Call(Named(JOB, "Popen"), ["touch", canary]), False
    yield "a class that derives from Popen", Call(Named(JOB, "Runs"), ["touch", canary]), False
    yield "a class that derives from map", Call(Named(JOB, "Mapped"), Call(Named(JOB, "Called")), [canary]), False
    yield "a function of the job", Call(Named(JOB, "helper"), canary), True
    yield "a partial of the job", Call(Named(JOB, "opener"), canary), True
    yield "a metaclass of the job", Call(Named(JOB, "Meta"), "X", (), {}), False
    yield "an instance of the job", Call(Named(JOB, "instance.moved"), 1), False
    yield "a method", Call(Named(JOB, "Point.moved"), Call(Named(JOB, "Point"), 1), 2), False
    yield "a dunder walk", Call(Named(JOB, "Point.__init__.__globals__.get"), "os"), False
    yield "a class's class", Call(Named(JOB, "Point.__class__"), "X", (), {}), False
    yield "a class's subclasses", Call(Named(JOB, "Point.__subclasses__")), False
    yield "a class's base", Call(Named(JOB, "Point.__base__.__subclasses__")), False
    yield "a module below the job's", Call(Named(JOB + ".os", "system"), touch), False
    yield "the job's package", Call(Named(JOB.rpartition(".")[0], "classes.helper"), canary), True
    yield "no module", Call(Named("", "eval"), write), False


def opcodes(canary: str) -> Iterator[tuple[str, bytes, bool]]:
    """The same without a name for it, and what breaks or changes things: a name for the test, opcodes, does it fire."""
    point = name_of(JOB, "Point")
    made = point + b"K\x01\x85R"
    path = text(canary)
    yield "a list of names", point + b"\x85", False
    yield "a state for a class", point + b"N}" + text("moved") + b"K\x01s\x86b", False
    yield "a __setstate__ for a class", point + b"N}" + text("__setstate__") + name_of(JOB, "Called") + b"s\x86b", False
    yield (
        "a state for a function",
        name_of("mincemeat.decoding.forms", "deque_of") + b"}" + text("x") + b"K\x01sb",
        False,
    )
    yield "a state for a member", name_of(JOB, "Color") + b"K\x01\x85R}" + text("_value_") + b"K\x07sb", False
    yield "a state for a list", b"]}b", False
    yield "an instance that is called", name_of(JOB, "Called") + b")\x81" + path + b"\x85R", True
    yield "elements for a class", name_of(JOB, "Registry") + b"(" + path + b"e", True
    yield "an element for a class", name_of(JOB, "Registry") + path + b"a", True
    yield "a class remembered and changed", point + b"\x940h\x00N}" + text("moved") + b"K\x01s\x86b", False
    yield "a class among arguments", made[:-2] + name_of(JOB, "Color") + b"\x86R", False
    yield "GLOBAL", b"cos\nsystem\n" + text(f"touch {canary}") + b"\x85R", True
    yield "INST", b"(" + text(f"touch {canary}") + b"ios\nsystem\n", True
    yield "OBJ", b"(cos\nsystem\n" + text(f"touch {canary}") + b"o", True
    yield "EXT1", b"\x82\xf0" + path + b"\x85R", True
    yield "PERSID", b"Pnobody\n", False
    yield "BINPERSID", path + b"Q", False
    yield "NEXT_BUFFER", b"\x97", False
    yield "PUT", b"]p0\n", False
    yield "LONG_BINPUT", b"]r\xff\xff\xff\x0f", False
    yield "DUP", b"]2", False
    yield "STRING", b"S'x'\n", False
    yield "INT", b"I1\n", False
    yield "LONG", b"L1L\n", False
    yield "a tuple in a tuple, far too deep, as a key", b"}" + b")" + b"\x85" * 200_000 + b"Ns", False
    yield "what was not remembered", b"h\x07", False
    yield "another PROTO", b"]\x80\x02", False


def gadgets(canary: str) -> list[Gadget]:
    """All of them."""
    return [Gadget(name, ops(value), fires) for name, value, fires in calls(canary)] + [
        Gadget(name, value, fires) for name, value, fires in opcodes(canary)
    ]


def old_pickles(canary: str) -> list[tuple[str, bytes]]:
    """Whole pickles by older protocols, which say the same in other words."""
    gadget = Call(os.mkdir, canary)
    return [(f"protocol {protocol}", pickle.dumps((["k"], [gadget]), protocol)) for protocol in range(6)]


def with_extension(run: Callable[[], None]) -> None:
    """While ``run`` runs, and in the unpickler's cache ever after, extension code 240 is ``open``-like of the job's."""
    copyreg.add_extension(JOB, "helper", 240)
    try:
        pickle.loads(_HEAD + b"\x82\xf0.")  # as another pickle of this process may have done
        run()
    finally:
        copyreg.remove_extension(JOB, "helper", 240)
