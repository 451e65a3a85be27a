"""What a table costs on many workers, by what a row, a fragment and a task were measured to cost.

Three things can be the bottleneck: the workers, whoever hands out tasks one after the other, and the object store, from
which fragments are read and to which as much is written. Work that overlaps takes as long as the slowest of them.
"""

from dataclasses import dataclass

ROWS, FRAGMENT_ROWS = 5_000_000_000, 1_000_000
WORKERS = (8, 64, 512)
# Assumed, not measured: bytes a second that a store gives to all workers, and the price of a core for an hour.
STORE_BYTES, CORE_HOUR = 5e9, 0.05


@dataclass(frozen=True)
class Costs:
    """Seconds of a worker for a row and for a fragment besides, of who hands out tasks for each; bytes of a row."""

    row: float
    fragment: float
    task: float
    row_bytes: float

    def parts(self, rows: int, fragments: int, workers: int) -> dict[str, float]:
        """Return the seconds that each possible bottleneck takes."""
        # Whole fragments: the last ones leave workers idle.
        most = -(-fragments // workers)
        return {
            "workers": most * (rows / fragments * self.row + self.fragment),
            "dispatch": fragments * self.task,
            "store": rows * self.row_bytes / STORE_BYTES,
        }


def fit(small: tuple[int, float], large: tuple[int, float], fragments: int, task: float, row_bytes: float) -> Costs:
    """Return the costs by which one worker takes the seconds that two tables of (rows, seconds) took."""
    row = (large[1] - small[1]) / (large[0] - small[0])
    return Costs(row, max(0.0, small[1] / fragments - small[0] / fragments * row), task, row_bytes)


def extrapolate(costs: Costs) -> list[dict[str, object]]:
    """Return time, money and bottleneck of five billion rows."""
    lines: list[dict[str, object]] = []
    for workers in WORKERS:
        parts = costs.parts(ROWS, ROWS // FRAGMENT_ROWS, workers)
        bottleneck = max(parts, key=lambda name: parts[name])
        hours = parts[bottleneck] / 3600
        lines.append(
            {
                "workers": workers,
                "minutes": round(60 * hours, 1),
                "dollars": round(hours * workers * CORE_HOUR, 2),
                "bottleneck": bottleneck,
            }
        )
    return lines
