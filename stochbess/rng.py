"""Named random streams from one seed.

A stream depends on the root seed and on its name only, never on how many numbers another stream
has drawn or on the number of workers.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator of the stream `name` under the root `seed`.

    Parameters
    ----------
    seed : non-negative root seed of the run
    name : name of the stream, e.g. ``"scenarios.analog"``
    """
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
