"""The compiled module; mentions.py says what it does."""

SOURCE_VERSION: int

def read(
    pickle: bytes | bytearray | memoryview, depth_max: int, names_max: int, /
) -> tuple[list[tuple[str, str, int]], str | None, int]: ...
