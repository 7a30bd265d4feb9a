"""Debris flows after a fire: the likelihood model's last step."""

from __future__ import annotations

import math


def likelihood(logit: float) -> float:
    """Return the probability (0 to 1) of a debris flow for a linear predictor."""
    return 1.0 / (1.0 + math.exp(-logit))
