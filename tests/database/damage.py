"""Ways in which a dump on a disk goes bad, each from a number alone, so that a failure can be made again."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

WAYS = ("cut", "flip", "zero", "append")
# Options of pg_dump, and the ending of the file's name.
KINDS = {
    "custom-zstd": ("-Fc", "-Z", "zstd:1"),
    "custom-gzip": ("-Fc", "-Z", "gzip:6"),
    "plain": ("-Fp",),
    "plain-gzip": ("-Fp", "-Z", "gzip:6"),
    "directory": ("-Fd", "-Z", "gzip:6"),
    "directory-lz4": ("-Fd", "-Z", "lz4"),
    "directory-zstd": ("-Fd", "-Z", "zstd:1"),
    "directory-unpacked": ("-Fd", "-Z", "none"),
    "custom-unpacked": ("-Fc", "-Z", "none"),
    "tar": ("-Ft",),
}


@dataclass(frozen=True)
class Damage:
    """One damaged copy of a dump. summed: the checksums of the good one lie beside it."""

    number: int
    kind: str
    way: str
    summed: bool
    path: Path

    def __str__(self) -> str:
        return f"{self.number}: {self.kind}, {self.way}, {'with' if self.summed else 'without'} checksum"


def make(number: int, good: dict[str, Path], folder: Path) -> Damage:
    """Damage number so and so: kinds, ways and checksums each take turns, the place is by chance."""
    kinds = list(KINDS)
    kind = kinds[number % len(kinds)]
    way = WAYS[number // len(kinds) % len(WAYS)]
    summed = number // (len(kinds) * len(WAYS)) % 2 == 0
    source = good[kind]
    path = folder / f"damaged-{number}"
    if source.is_dir():
        shutil.copytree(source, path)
        dice = random.Random(number)
        victim = dice.choice(sorted(each for each in path.iterdir() if each.is_file()))
    else:
        shutil.copyfile(source, path)
        victim = path
    content, dice = victim.read_bytes(), random.Random(number)
    while (spoiled := spoil(content, way, dice)) == content:
        pass  # zeroes where there were zeroes
    victim.write_bytes(spoiled)
    if summed:
        sums = source.with_name(source.name + ".sha256").read_text().replace(source.name, path.name)
        path.with_name(path.name + ".sha256").write_text(sums)
    return Damage(number, kind, way, summed, path)


def spoil(content: bytes, way: str, dice: random.Random) -> bytes:
    """The content cut short, with one bit changed, with a block of zeroes, or with rubbish at its end."""
    if way == "cut":
        return content[: dice.randrange(len(content))]
    if way == "append":
        return content + dice.randbytes(dice.randint(1, 4096))
    at = dice.randrange(len(content))
    if way == "flip":
        return content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :]
    size = min(dice.choice((16, 512, 4096)), len(content) - at)
    return content[:at] + bytes(size) + content[at + size :]
