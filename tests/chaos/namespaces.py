"""A network of namespaces: a bridge with the server on it, and a worker at the end of each of its cables.

Decides: how they are made (as whoever may make a user namespace, without privileges), and what is done to a cable.
Does not know: processes beyond the words that lead a command into a namespace.

Each namespace is held by a process that waits for its standard input to end, so nothing is left when that is closed.
Addresses are those of the outer namespace alone, and disturb nobody.
"""

from __future__ import annotations

import functools
import subprocess

SERVER_HOST = "10.77.0.1"
# A cable that is slow drops what has waited longer than this.
_QUEUE = "400ms"
_BURST_BYTES = 4_000


@functools.cache
def obstacle() -> str:
    """Why this machine allows no such network, in words; "" if it does."""
    try:
        with Cables() as cables:
            cables.lay(0)
            cables.set_down(0, True)
            cables.set_down(0, False)
            cables.slow_down(0, 100_000)
            cables.slow_down(0, 0)
    except OSError as error:
        return f"a command is missing: {error}"
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd[-6:])!r} said {error.stderr.strip()!r}"
    return ""


class Cables:
    """The bridge and its cables. A context manager."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[str]] = []
        self._laid: dict[int, subprocess.Popen[str]] = {}

    def __enter__(self) -> Cables:
        try:
            hub = self._hold(["unshare", "--user", "--map-root-user", "--net"])
            self._hub = hub
            self._ip(hub, "link", "set", "lo", "up")
            self._ip(hub, "link", "add", "bridge", "type", "bridge")
            self._ip(hub, "addr", "add", f"{SERVER_HOST}/16", "dev", "bridge")
            self._ip(hub, "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for holder in reversed(self._holders):
            assert holder.stdin is not None
            holder.stdin.close()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()
        self._holders.clear()

    def lay(self, number: int) -> None:
        """A namespace with a cable to the bridge, if ``number`` has none yet."""
        if number in self._laid:
            return
        end = self._hold([*self.beside_server(), "unshare", "--net"])
        cable = f"cable{number}"
        self._ip(self._hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(end.pid))
        self._ip(self._hub, "link", "set", cable, "master", "bridge", "up")
        self._ip(end, "link", "set", "lo", "up")
        self._ip(end, "addr", "add", f"10.77.1.{number + 1}/16", "dev", "eth0")
        self._ip(end, "link", "set", "eth0", "up")
        self._laid[number] = end

    def beside_server(self) -> list[str]:
        """The words before a command that is to run where the server is."""
        return self._enter(self._hub)

    def behind(self, number: int) -> list[str]:
        """The words before a command that is to run at the end of the cable ``number``."""
        return self._enter(self._laid[number])

    def set_down(self, number: int, is_down: bool) -> None:
        """Pull the cable, or plug it in again. Nobody is told."""
        self._ip(self._hub, "link", "set", f"cable{number}", "down" if is_down else "up")

    def slow_down(self, number: int, bytes_per_second: int) -> None:
        """So much passes towards the worker; 0: as much as there is."""
        where = f"dev cable{number} root"
        words = f"qdisc del {where}"
        if bytes_per_second:
            words = f"qdisc replace {where} tbf rate {bytes_per_second * 8}bit burst {_BURST_BYTES} latency {_QUEUE}"
        self._run([*self.beside_server(), "tc", *words.split()])

    def _hold(self, words: list[str]) -> subprocess.Popen[str]:
        holder = subprocess.Popen(
            [*words, "sh", "-c", "echo here; cat > /dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        assert holder.stderr is not None
        with holder.stderr as errors:
            if holder.stdout.readline() != "here\n":
                raise subprocess.CalledProcessError(holder.wait(), words, stderr=errors.read())
        return holder

    def _enter(self, holder: subprocess.Popen[str]) -> list[str]:
        return ["nsenter", "--preserve-credentials", "--user", "--net", "--target", str(holder.pid), "--"]

    def _ip(self, holder: subprocess.Popen[str], *words: str) -> None:
        self._run([*self._enter(holder), "ip", *words])

    def _run(self, words: list[str]) -> None:
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
