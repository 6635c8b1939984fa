"""The words that networks are written in, as numbers; fixed by rule, nothing is trained.

A *token* has a name, is the sum of at most three *pieces* (which is what an encoder learns vectors of: `kernel=3` is
the attribute `kernel` and the value 3, `Elu` is itself and an activation), and belongs to a *role*, which tells what
the exact numbers that accompany it mean:

| tokens | pieces | numbers |
|---|---|---|
| `Conv`, `Relu` ... every canonical op | op, its class | log2(1 + MACs), log2(1 + parameters), log2(1 + elements) |
| `kernel=3`, `bias=True`: values 0..16, booleans | attribute, value | |
| `kernel`, then values: any other value | attribute | |
| `=3`, `#6.4`, `-`, `inf`, `nan`, `mode:linear` | value, or octave and eighth | log2 of the size |
| `axis1:6.0`, `side:5.6`: a length of the output's shape | axis, octave, eighth | log2 of the length |
| `^3`: an input made three nodes before | distance | log2 of the distance |
| `+3`, `-3`: an input made three nodes after, before the last one named | step | log2 of the step |
| `repeat=5`, `[END]`: the tokens between them five times | count | log2 of the count |
| `[UNK]`, then `char:17` ...: an op, attribute or word never seen | hash of three characters | |
| `[CLS]`, `[PAD]`, `[MASK]`, `[NONE]` (no input), `rank=4`, `detail=1`, `[CUT]` | itself | `[CLS]`: unused parameters |

Sizes are quantised to eighths of an octave, `round(8 log2 n)`: the whole numbers up to 12 and all powers of two
and their multiples by 3 differ, neighbours lie within 4.5 %, and 2^31 takes 256 tokens. What the quantisation
loses the exact logarithm beside the token keeps. Octave and eighth are pieces of their own, shared by all roles, so
that a size never met is made of parts that were.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field, fields
from functools import cached_property
from math import log2
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError
from archcast.graphs.vocabulary import OP_CLASS, OP_CLASSES, OPS

VERSION: Final = 1
ROLES: Final = ("none", "op", "value", "axis", "reference", "count")
"""What the numbers beside a token mean; `none` has none."""
MOST_PIECES: Final = 3
STEPS: Final = 8
"""Magnitudes per octave."""
SMALL: Final = 16
"""Largest value that an attribute's token names exactly."""
NEAR: Final = 64
"""Largest distance, step and count with a token of its own."""
FAR_OCTAVE: Final = 6
"""Octave that distances beyond `NEAR` begin with."""
OCTAVES: Final = 64
LENGTH_OCTAVES: Final = 32
LEAST_OCTAVE: Final = -32
HASHES: Final = 128
AXES: Final = ("axis0", "axis1", "axis2", "axis3", "axis4", "side")
"""Axes of a shape; later ones count as `axis4`, `side` is the common length of all axes from 2 on."""
MOST_RANK: Final = 8

_MARKS: Final = ("[PAD]", "[UNK]", "[MASK]", "[END]", "[NONE]", "-", "inf", "nan")
_ATTRIBUTES: Final = (
    "kernel stride padding dilation groups bias in_channels out_channels channels in_features out_features contracted"
    " axis axes entries width heads head_width causal input_size hidden_size layers directions equation alpha min max"
    " lambd threshold approximate mode block size name epsilon order"
)
_WORDS: Final = (
    "none tanh nearest nearest-exact linear bilinear bicubic cubic trilinear area antialias floor ceil round constant"
    " reflect replicate circular wrap edge zeros border sum mean max min mul"
)


@dataclass(frozen=True)
class Token:
    name: str
    pieces: tuple[str, ...]
    role: str = "none"


@dataclass(frozen=True)
class Vocabulary:
    """All tokens; their ids are their positions and depend on these four lists alone.

    Attributes:
        ops: op and its class, in the order of ids.
        attributes: names of attributes that have tokens.
        words: texts that values of attributes are made of.
        version: of the rule that makes tokens from the lists.
    """

    ops: tuple[tuple[str, str], ...] = tuple((op, OP_CLASS[op]) for op in OPS)
    attributes: tuple[str, ...] = tuple(_ATTRIBUTES.split())
    words: tuple[str, ...] = tuple(_WORDS.split())
    version: int = field(default=VERSION)

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        alone = [*_MARKS, "detail=1", "detail=2", *(f"rank={rank}" for rank in range(MOST_RANK + 1))]
        return (
            *(Token(name, (name,)) for name in alone),
            *(Token(f"char:{key}", (f"char:{key}",)) for key in range(HASHES)),
            Token("[CLS]", ("[CLS]",), "count"),
            Token("[CUT]", ("[CUT]",), "count"),
            *(Token(op, (f"op:{op}", f"class:{kind}"), "op") for op, kind in self.ops),
            *self._attribute_tokens(),
            *_references(),
            *_magnitudes("#", (), "value", LEAST_OCTAVE),
            *(token for axis in AXES for token in _magnitudes(f"{axis}:", (axis,), "axis", 0)),
        )

    def _attribute_tokens(self) -> list[Token]:
        values = [*map(str, range(SMALL + 1)), "True", "False"]
        return [
            *(Token(f"={value}", (f"value:{value}",), "value") for value in values),
            *(Token(f"word:{word}", (f"word:{word}",)) for word in self.words),
            *(Token(name, (f"attribute:{name}",)) for name in self.attributes),
            *(
                Token(f"{name}={value}", (f"attribute:{name}", f"value:{value}"))
                for name in self.attributes
                for value in values
            ),
            Token("groups=channels", ("attribute:groups", "value:channels")),
        ]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def index(self) -> dict[str, int]:
        """Name of a token -> its id."""
        return {token.name: position for position, token in enumerate(self.tokens)}

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Names of all pieces; position 0 stands for no piece."""
        return ("", *dict.fromkeys(piece for token in self.tokens for piece in token.pieces))

    @cached_property
    def piece_table(self) -> NDArray[np.int64]:
        """`[V, 3]` the pieces of each token, filled up with 0."""
        position = {piece: index for index, piece in enumerate(self.pieces)}
        table = np.zeros((len(self), MOST_PIECES), dtype=np.int64)
        for row, token in zip(table, self.tokens, strict=True):
            row[: len(token.pieces)] = [position[piece] for piece in token.pieces]
        return table

    @cached_property
    def role_table(self) -> NDArray[np.int64]:
        """`[V]` the role of each token, a position in `ROLES`."""
        return np.asarray([ROLES.index(token.role) for token in self.tokens], dtype=np.int64)

    def hashed(self, name: str) -> list[int]:
        """`[UNK]` and one token for every three characters of `name`, six at most."""
        chunks = [name.lower()[start : start + 3] for start in range(0, min(len(name), 18), 3)]
        keys = [zlib.crc32(chunk.encode()) % HASHES for chunk in chunks]
        return [self.index["[UNK]"], *(self.index[f"char:{key}"] for key in keys)]

    def save(self, path: str | Path) -> None:
        stored = {item.name: getattr(self, item.name) for item in fields(self)}
        Path(path).write_text(json.dumps(stored, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """The vocabulary that `save` wrote.

        Raises:
            BundleError: the file is not a vocabulary, or of another version.
        """
        try:
            return cls._from(json.loads(Path(path).read_text()))
        except (OSError, TypeError, ValueError) as error:
            message = f"{path} is not a vocabulary of tokens ({error}); fetch or train the bundle again"
            raise BundleError(message) from error

    @classmethod
    def _from(cls, stored: Any) -> Vocabulary:
        if not isinstance(stored, dict) or set(stored) != {item.name for item in fields(cls)}:
            raise ValueError("it must hold ops, attributes, words and version")
        if stored["version"] != VERSION:
            raise ValueError(f"version {stored['version']}, this archcast reads version {VERSION}")
        ops = tuple((str(op), str(kind)) for op, kind in stored["ops"])
        if unknown := {kind for _, kind in ops} - set(OP_CLASSES):
            raise ValueError(f"classes of ops that do not exist: {sorted(unknown)}")
        made = cls(ops, tuple(map(str, stored["attributes"])), tuple(map(str, stored["words"])), VERSION)
        if len(made.index) != len(made):
            raise ValueError("a token is there twice")
        return made


def _references() -> list[Token]:
    """Distances `^1`, steps `+1` and `-1`, counts `repeat=2`; beyond `NEAR` in eighths of an octave."""
    tokens = []
    for mark, kind in (("^", "distance"), ("+", "later"), ("-", "earlier")):
        tokens += [Token(f"{mark}{near}", (kind, *_near(near)), "reference") for near in range(NEAR + 1)]
        tokens += _magnitudes(f"{mark}~", (kind,), "reference", FAR_OCTAVE)
    return tokens + [Token(f"repeat={k}", ("repeat", *_near(k)), "count") for k in range(2, NEAR + 1)]


def _near(number: int) -> tuple[str, str]:
    return (f"near:{number}", f"octave:{int(log2(number)) if number else -1}")


def _magnitudes(mark: str, pieces: tuple[str, ...], role: str, least: int) -> list[Token]:
    """Eighths of octaves from 2^least up (values to 2^64, lengths and distances to 2^32), after a token for 0."""
    most = OCTAVES if least < 0 else LENGTH_OCTAVES
    return [
        Token(f"{mark}0", (*pieces, "value:0"), role),
        *(
            Token(f"{mark}{octave}.{part}", (*pieces, f"octave:{octave}", f"eighth:{part}"), role)
            for octave in range(least, most)
            for part in range(STEPS)
        ),
    ]


def magnitude(size: float, least: int, most: int) -> str:
    """`octave.eighth` of `size` > 0, clipped to 2^least .. 2^most."""
    steps = min(max(round(STEPS * log2(size)), STEPS * least), STEPS * most - 1)
    return f"{steps // STEPS}.{steps % STEPS}"
