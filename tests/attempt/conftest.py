"""Every test of this room runs with the compiled table and without it."""

from tests.kit.ways import each_way as each_way
