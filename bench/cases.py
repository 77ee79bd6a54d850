"""What is timed. Every case names its model, what one call does, and how long the calls are checked before."""

from __future__ import annotations

from dataclasses import dataclass

SIZES = ((1, 16), (1, 32), (8, 64), (10, 50), (16, 128), (32, 256), (64, 512))
SMALL_SIZES = ((1, 32), (8, 64), (16, 128), (32, 256), (64, 512))
POOL_SIZES = ((8, 64), (16, 128))
POOL_STREAMS = 1000
CELLS = ("lstm", "gru", "rnn")
KINDS = ("step", "small", "sequence", "pool")

# Largest error of an output, relative to max(1, |y|), beside a float64 computation; a contender beyond it is not
# timed. float32 is rounding alone. Small weights move the answer itself: what they may is only what shows that the
# same model ran, and the table has the error.
TOLERANCE = {"step": 1e-5, "sequence": 1e-5, "pool": 1e-5, "small": 0.1}


@dataclass(frozen=True)
class Case:
    """One model and one way to call it.

    kind: ``step`` (one time step, the state kept), ``small`` (the same where weights may be small), ``sequence``
    (``length`` steps in one call, from zero), ``pool`` (one step of ``streams`` independent states).
    """

    name: str
    kind: str
    cell: str
    features: int
    hidden: int
    layers: int = 1
    length: int = 1
    streams: int = 1
    tokens: bool = False

    @property
    def model(self) -> str:
        """The name of its files: pools and small weights run the model of the steps."""
        if self.kind == "sequence":
            return self.name
        stacked = f"x{self.layers}" if self.layers > 1 else ""
        return f"{self.cell}-{self.features}-{self.hidden}{stacked}"

    @property
    def title(self) -> str:
        """As tables name it."""
        if self.tokens:
            return f"sentiment model, {self.length} tokens"
        layers = f"{self.layers} × " if self.layers > 1 else ""
        return f"{layers}{self.cell.upper()}({self.features}, {self.hidden})"


def all_cases() -> list[Case]:
    """Every case, in the order of the tables."""
    cases = [Case(f"{cell}-{f}-{h}", "step", cell, f, h) for cell in CELLS for f, h in SIZES]
    cases.append(Case("lstm-8-64x2", "step", "lstm", 8, 64, layers=2))
    cases += [Case(f"small-{f}-{h}", "small", "lstm", f, h) for f, h in SMALL_SIZES]
    cases.append(Case("sentiment", "sequence", "lstm", 128, 64, length=100, tokens=True))
    cases.append(Case("window-24", "sequence", "lstm", 8, 64, length=24))
    cases += [Case(f"pool-{h}", "pool", "lstm", f, h, streams=POOL_STREAMS) for f, h in POOL_SIZES]
    return cases
