"""What land cover and soil mean for runoff and soil loss: the published tables this model reads."""

from __future__ import annotations

from dataclasses import dataclass

HYDROLOGIC_GROUPS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Cover:
    """One class of the National Land Cover Database."""

    code: int
    name: str
    curve_numbers: tuple[int, int, int, int]  # hydrologic soil groups A to D
    cover_factor: float  # C of the (R)USLE, dimensionless
    colour: tuple[int, int, int]  # of its legend


# Curve numbers: USDA NRCS, National Engineering Handbook part 630, chapter 9 (the class nearest to each cover, in fair
# condition). Cover factors: typical yearly values of Renard et al. (1997), USDA Agriculture Handbook 703.
COVERS = {
    cover.code: cover
    for cover in (
        Cover(11, "open water", (100, 100, 100, 100), 0.0, (70, 107, 159)),
        Cover(21, "developed, open space", (49, 69, 79, 84), 0.01, (222, 197, 197)),
        Cover(31, "barren land", (77, 86, 91, 94), 0.45, (179, 172, 159)),
        Cover(41, "deciduous forest", (36, 60, 73, 79), 0.003, (104, 171, 95)),
        Cover(42, "evergreen forest", (36, 60, 73, 79), 0.002, (28, 95, 44)),
        Cover(52, "shrub", (35, 56, 70, 77), 0.02, (204, 184, 121)),
        Cover(71, "grassland", (49, 69, 79, 84), 0.015, (223, 223, 194)),
        Cover(81, "pasture", (49, 69, 79, 84), 0.01, (220, 217, 57)),
        Cover(82, "cultivated crops", (64, 75, 82, 85), 0.2, (171, 108, 40)),
        Cover(90, "woody wetlands", (45, 66, 77, 83), 0.003, (184, 217, 235)),
    )
}


@dataclass(frozen=True)
class SoilWater:
    """What the root zone of a soil holds and lets through."""

    available: float  # mm between the wilting point (-1500 kPa) and field capacity (-33 kPa)
    drainable: float  # mm between field capacity and saturation
    conductivity: float  # mm / h, saturated


ROOT_DEPTH = 1000.0  # mm
# Of the texture that USDA NRCS (1986), Technical Release 55, appendix A names for each group: sandy loam, silt loam,
# sandy clay loam, silty clay. Shares of the volume and conductivities: Rawls, Brakensiek & Saxton (1982), Estimation
# of soil water properties, Transactions of the ASAE 25, table 2.
SOIL_WATER = {
    "A": SoilWater(ROOT_DEPTH * (0.207 - 0.095), ROOT_DEPTH * (0.453 - 0.207), 25.9),
    "B": SoilWater(ROOT_DEPTH * (0.330 - 0.133), ROOT_DEPTH * (0.501 - 0.330), 6.8),
    "C": SoilWater(ROOT_DEPTH * (0.255 - 0.148), ROOT_DEPTH * (0.398 - 0.255), 4.3),
    "D": SoilWater(ROOT_DEPTH * (0.387 - 0.250), ROOT_DEPTH * (0.479 - 0.387), 0.9),
}


@dataclass(frozen=True)
class Soil:
    """One map unit of a soil survey."""

    key: int
    name: str
    hydrologic_group: str  # one of HYDROLOGIC_GROUPS
    erodibility: float  # K, t ha h / (ha MJ mm)


def curve_number(cover: Cover, soil: Soil) -> int:
    """Return the curve number of a cover on a soil."""
    return cover.curve_numbers[HYDROLOGIC_GROUPS.index(soil.hydrologic_group)]
