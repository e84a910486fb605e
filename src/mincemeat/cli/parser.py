"""What may be typed, and what it means as plain values.

Decides: options, their defaults and the sentences about misuse (exit code 2). Does not know: files, passwords, engines.

There are two parsers rather than subcommands of one, because the original's form, ``python -m mincemeat HOST``, has a
host where a subcommand would stand. A host that is called as a command is reached with ``mincemeat worker run``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.interpreters import one_file
from mincemeat.memory import memory_bytes, size_bytes

_JOIN_USAGE = """mincemeat [worker] [-p PASSWORD] [-P PORT] [options] [host]
       mincemeat run JOBFILE [INPUT ...] [options]   (see: mincemeat run --help)
       mincemeat replay FAILURES [NUMBER] [--pdb]    (see: mincemeat replay --help)
       mincemeat token [FILE] [--new]                (see: mincemeat token --help)"""

_JOIN_TEXT = """Join the mincemeat server on HOST as a worker, and work until its job is done."""

_PASSWORD_TEXT = """The password is taken from --password-file or --password-fd, else from the environment variable
MINCEMEAT_PASSWORD, else from -p, else asked for. A join token may stand wherever a password may."""

_TOKEN_TEXT = """Print the join token of the identity in FILE, which is made if it is not there. A server that is given
the identity (mincemeat run --serve :PORT --identity FILE, or Server.run_server(identity=FILE)) lets in whoever has the
token, and nobody who joins by it can be led to another server. FILE stays with the server; the token goes to the
workers (mincemeat worker --token TOKEN HOST)."""

_REPLAY_TEXT = """Run a record that failed again, with the functions that the job file has now, and show what it emits,
or where it raises. A record that ended its process is run in a process of its own, any other one in this. The file
holds pickled records: replay only files that you trust."""

_RUN_TEXT = """Run a job file: a plain Python file with mapfn(key, value), reducefn(key, values) and, if you like,
collectfn, partitionfn and datasource. Without a datasource each line of the inputs is a record, whatever they are
called; its key is (path, byte offset). For rows or JSON lines the job file says datasource = mincemeat.csv or
mincemeat.jsonl; a datasource that is a function is called with the list of inputs."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options in ``argv`` (default: ``sys.argv``), with ``command`` "run", "replay", "token" or "worker".

    Raises: SystemExit with code 2 and a sentence on standard error when they cannot be meant, 0 for --help, --version.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["run"]:
        return _parse_run(words[1:])
    if words[:1] == ["replay"]:
        return _parse_replay(words[1:])
    if words[:1] == ["token"]:
        return _parse_token(words[1:])
    return _parse_join(words[1:] if words[:1] == ["worker"] else words)


# -- worker ----------------------------------------------------------------------------------------------


def _parse_join(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("mincemeat", usage=_JOIN_USAGE, description=_JOIN_TEXT, epilog=_PASSWORD_TEXT)
    parser.set_defaults(command="worker")
    parser.add_argument(
        "host", nargs="?", type=_host, default="localhost", help="where the server is (default: %(default)s)"
    )
    _add_password(parser)
    parser.add_argument(
        "--token",
        help="a join token of the server's, as mincemeat token prints it, in place of a password: nobody else can then "
        "pose as that server",
    )
    parser.add_argument(
        "-P", "--port", type=_whole(1, 65535), default=limits.DEFAULT_PORT, help="its port (default: %(default)s)"
    )
    parser.add_argument(
        "-n", "--slots", type=_whole(1, 4096), help="attempts to carry out at a time (default: as many as cores)"
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds(0),
        default=limits.WAIT_SECONDS,
        help="how long to try again while no server is there (default: %(default)g)",
    )
    parser.add_argument("-l", "--forever", action="store_true", help="stay for the next job when one is done")
    parser.add_argument(
        "--update",
        action="store_true",
        help="if the server has another version, replace mincemeat.py, the one file, by its, and start again",
    )
    _add_sandbox(parser)
    _add_general(parser)
    if "--sandbox strict" in " ".join(words):
        parser.error("--sandbox=strict is written with an equals sign: what comes after a space is a host")
    options = parser.parse_args(_with_value("--sandbox", "yes", words))
    if options.sandbox_read and not options.sandbox:
        parser.error("--sandbox-read is for --sandbox; without it all files can be read")
    return options


def _add_sandbox(parser: argparse.ArgumentParser) -> None:
    protection = parser.add_argument_group("what jobs may do here (docs/sandbox.md)")
    protection.add_argument(
        "--sandbox",
        metavar="[=strict]",  # the other value is written as none
        choices=("yes", "strict"),
        help="keep jobs from this computer's files, network and other processes, as far as its kernel can, and say so; "
        "--sandbox=strict: or do not start",
    )
    protection.add_argument(
        "--sandbox-read",
        metavar="PATH",
        action="append",
        default=[],
        help="a file or directory that jobs may read all the same, their inputs for example; may be given again",
    )
    _add_slot_limits(protection)


def _add_slot_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--slot-memory",
        metavar="SIZE",
        type=_slot_memory,
        help="a slot may have so much memory in all: 2GB, 512MiB (default: what there is)",
    )
    group.add_argument(
        "--slot-cpu",
        metavar="SECONDS",
        type=_whole(1, limits.SLOT_CPU_SECONDS_MAX),
        help="an attempt may use so much processor time (default: no limit)",
    )


def _with_value(option: str, value: str, words: list[str]) -> list[str]:
    """``words``, in which ``option`` alone has a value: argparse would take the host for one that may be left out."""
    end = words.index("--") if "--" in words else len(words)
    return [f"{option}={value}" if word == option else word for word in words[:end]] + words[end:]


# -- run -------------------------------------------------------------------------------------------------


def _parse_run(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "mincemeat run",
        usage="%(prog)s JOBFILE [INPUT ...] [options]",
        description=_RUN_TEXT,
        epilog="Exit codes: 0 done, 1 failed, 2 not understood, 130 interrupted.",
    )
    parser.set_defaults(command="run")
    parser.add_argument("jobfile", metavar="JOBFILE", help="a Python file")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        default=[],  # without it, argparse says that an input is required
        help="a file, directory, glob or URL (fsspec), plain or compressed (.gz .bz2 .xz); - is standard input; "
        "of a directory, hidden and binary files are passed over",
    )
    parser.add_argument(
        "--exclude",
        metavar="NAME",
        action="append",
        default=[],
        help="files and directories called so (a pattern) are passed over in a directory; may be given again",
    )
    _add_output(parser)
    _add_engine(parser)
    _add_password(parser)
    _add_general(parser)
    # Intermixed, because options may stand between JOBFILE and the inputs: plain parsing gives INPUT nothing then.
    options, unknown = parser.parse_known_intermixed_args(words)
    if unknown:  # among them the inputs that follow the option nobody knows
        wrong = next((word for word in unknown if word.startswith("-")), unknown[0])
        parser.error(f"unrecognized argument: {wrong} (see: mincemeat run --help)")
    if "max_skipped" not in options:
        options.max_skipped = limits.MAX_SKIPPED
    elif options.on_error != "skip":
        parser.error("--max-skipped is for --on-error skip: without it the first record that fails, fails the job")
    if options.engine is None:
        options.engine = "processes" if options.serve is None else "cluster"
    if options.engine != "cluster":
        for option, value in (
            ("--serve", options.serve),
            ("-p", options.password),
            ("--password-file", options.password_file),
            ("--password-fd", options.password_fd),
            ("--identity", options.identity),
            ("--trust-workers", options.trust_workers),
        ):
            if value is not None:
                parser.error(f"{option} is for the cluster engine, not for --engine {options.engine}")
    return options


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("results")
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write them to FILE, as its ending says: .jsonl .csv .tsv .txt .sqlite .parquet .pickle; to FILE/, a "
        "directory of such files (default: a table on a terminal, lines of key, tab, value in a pipe)",
    )
    output.add_argument(
        "--failures",
        metavar="FILE",
        help="where records that failed are written, for mincemeat replay (default: JOBFILE's name with "
        ".failures.jsonl, here; only if there are any; no input of a directory or pattern)",
    )
    output.add_argument("--top", metavar="N", type=_whole(1, 2**31), help="only the N largest, by value")
    output.add_argument("--sort", action="store_true", help="in order of their keys")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_argument_group("how the job is carried out")
    engine.add_argument(
        "--engine", help="processes (default): child processes; inline: this process, for pdb; cluster: see --serve"
    )
    engine.add_argument(
        "--serve",
        metavar="[HOST]:PORT",
        type=_address,
        help="be the server of workers that join over the network; :0 takes a free port",
    )
    engine.add_argument(
        "--identity",
        metavar="FILE",
        help="the server's identity, as mincemeat token makes it: workers can join by its token, without a password",
    )
    engine.add_argument(
        "--workers", metavar="N", type=_whole(0, 4096), help="processes on this machine (default: cores; a server: 0)"
    )
    engine.add_argument(
        "--split", metavar="N", type=_whole(1, 2**31), help="records per map task (default: about 0.2 seconds of work)"
    )
    engine.add_argument(
        "--max-attempts",
        metavar="N",
        type=_whole(1, 1000),
        help=f"a task that failed N times fails the job (default: {limits.MAX_ATTEMPTS})",
    )
    engine.add_argument(
        "--task-timeout",
        metavar="SECONDS",
        type=_seconds(1e-3),
        help="one attempt may take so long (default: no limit)",
    )
    engine.add_argument(
        "--backups",
        action=argparse.BooleanOptionalAction,
        help="idle workers of a cluster repeat attempts that take far longer than others (default: yes)",
    )
    engine.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="of a record on which a function fails: fail the job (default), or set the record aside",
    )
    engine.add_argument(
        "--max-skipped",
        metavar="N",
        type=_count_or_any,
        default=argparse.SUPPRESS,  # so that one who says the default is noticed, too
        help="with --on-error skip: fail the job when more records than that were set aside; any: never (default: "
        f"{limits.MAX_SKIPPED})",
    )
    engine.add_argument(
        "--preflight",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="try a few records on all functions while the job begins, so that a name that is missing in reducefn, or "
        "a module (not on a cluster), shows at once (default: yes)",
    )
    engine.add_argument(
        "--on-nondeterminism",
        choices=("raise", "restart", "ignore"),
        help="of a map output that was lost, is made again, and differs from what was reduced already: fail the job, "
        "reduce again what has changed, or go on (default: raise on a cluster, else ignore)",
    )
    engine.add_argument(
        "--memory",
        metavar="SIZE",
        type=_memory,
        help="about so much of keys and values in each slot, the rest on disk: 256MB, 1.5GiB (default: a share of this "
        "machine's memory)",
    )
    _add_slot_limits(engine)
    engine.add_argument(
        "--journal",
        metavar="FILE",
        help="write down in FILE what is done: after a crash the same command goes on from there",
    )
    engine.add_argument(
        "--trust-workers",
        action="store_const",
        const=True,
        help="on a cluster: keys, values and results may be whatever can be pickled, so that a worker which lies can "
        "run code here and in other workers' slots (default: they are data)",
    )
    engine.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="a progress line on standard error (default: if that is a terminal)",
    )


# -- replay ----------------------------------------------------------------------------------------------


def _parse_replay(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "mincemeat replay",
        usage="%(prog)s FAILURES [NUMBER] [options]",
        description=_REPLAY_TEXT,
        epilog="Exit codes: 0 it does not fail now, 1 it does, 2 not understood, or it cannot be run again, "
        "130 interrupted.",
    )
    parser.set_defaults(command="replay")
    parser.add_argument("failures", metavar="FAILURES", help="the file of failed records that mincemeat run has named")
    parser.add_argument(
        "number", metavar="NUMBER", nargs="?", type=_whole(1, 2**31), default=1, help="which of them (default: 1)"
    )
    parser.add_argument(
        "--pdb",
        action="store_true",
        help="debug it where it raises; where the record ended its process, before anything happens",
    )
    parser.add_argument("--job", metavar="JOBFILE", help="another job file than the one that failed")
    _add_general(parser)
    return parser.parse_args(words)


# -- token -----------------------------------------------------------------------------------------------


def _parse_token(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("mincemeat token", usage="%(prog)s [FILE] [--new]", description=_TOKEN_TEXT)
    parser.set_defaults(command="token")
    parser.add_argument(
        "identity", metavar="FILE", nargs="?", default="mincemeat.identity", help="default: %(default)s, here"
    )
    parser.add_argument(
        "--new", action="store_true", help="replace the identity by a new one: the former token lets nobody in any more"
    )
    _add_general(parser)
    return parser.parse_args(words)


# -- both ------------------------------------------------------------------------------------------------


def _add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        "--password",
        help="what the server and its workers share; other users of this computer can see it here, so rather use:",
    )
    parser.add_argument("--password-file", metavar="FILE", help="a file whose first line is the password")
    parser.add_argument(
        "--password-fd",
        metavar="N",
        type=_whole(0, 2**31),
        help="an open file descriptor from which the first line is the password, for programs that start this one",
    )


def _add_general(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="tell what happens")
    parser.add_argument("-V", "--loud", action="store_true", help="tell everything that happens, with full tracebacks")
    parser.add_argument("--version", action=_ShowVersion, help="show the version, and of mincemeat.py the SHA-256")


class _ShowVersion(argparse.Action):
    """argparse's own would break a line where the terminal ends, in the middle of what somebody compares."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *arguments: object) -> NoReturn:
        file = one_file()
        sys.stdout.write(f"mincemeat {limits.VERSION}\n")
        if file is not None:
            from mincemeat.onefile.published import NotToBeHad, content_of, sha256

            try:
                sys.stdout.write(f"{sha256(content_of(file))}  {file.path}\n")
            except NotToBeHad as error:
                parser.exit(1, f"mincemeat: {error}\n")
        parser.exit()


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse_whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return value

    return parse_whole


def _count_or_any(text: str) -> int | None:
    if text == "any":
        return None
    try:
        return _whole(0, 2**31)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or any") from None


def _seconds(least: float) -> Callable[[str], float]:
    def parse_seconds(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of at least {least:g}")
        return value

    return parse_seconds


def _memory(text: str) -> int:
    try:
        return memory_bytes(text, slots=1)
    except InvalidJob as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _slot_memory(text: str) -> int:
    try:
        return size_bytes("slot_memory", text, limits.SLOT_MEMORY_BYTES_MIN)
    except InvalidJob as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _host(text: str) -> str:
    if "/" in text or "\\" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no host; a job file is run by: mincemeat run {text}")
    return text


def _address(text: str) -> tuple[str, int]:
    """``[HOST]:PORT`` as (host, port); an IPv6 address stands in brackets, no host means every interface."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"{text!r}: an IPv6 address stands in brackets, for example [::1]:0")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not [HOST]:PORT, for example :{limits.DEFAULT_PORT}")
    return host, int(port)
