"""``python -m mincemeat``: the command line, with the original's way of joining a server."""

from mincemeat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
