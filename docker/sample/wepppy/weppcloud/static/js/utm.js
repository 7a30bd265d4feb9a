// Degrees to metres: the Universal Transverse Mercator projection on the WGS 84 ellipsoid.
// Series of Krueger (1912) to the fourth order in n, as given by Karney (2011), Journal of Geodesy 85: better than a
// millimetre within a zone.

const SEMI_MAJOR = 6378137; // m
const FLATTENING = 1 / 298.257223563;
const SCALE = 0.9996;
const FALSE_EASTING = 500000; // m
const FALSE_NORTHING_SOUTH = 10000000; // m

const n = FLATTENING / (2 - FLATTENING);
const RADIUS = (SEMI_MAJOR / (1 + n)) * (1 + n ** 2 / 4 + n ** 4 / 64);
const ECCENTRICITY = Math.sqrt(FLATTENING * (2 - FLATTENING));
const ALPHA = [
  n / 2 - (2 * n ** 2) / 3 + (5 * n ** 3) / 16 + (41 * n ** 4) / 180,
  (13 * n ** 2) / 48 - (3 * n ** 3) / 5 + (557 * n ** 4) / 1440,
  (61 * n ** 3) / 240 - (103 * n ** 4) / 140,
  (49561 * n ** 4) / 161280,
];

/** Return the zone that a place lies in: `{number, south, crs}`. */
export function zoneOf(longitude, latitude) {
  const number = Math.min(60, Math.max(1, Math.floor((longitude + 180) / 6) + 1));
  const south = latitude < 0;
  return { number, south, crs: `EPSG:${(south ? 32700 : 32600) + number}` };
}

/** Return `[easting, northing]` in metres of a place given in degrees. */
export function project(zone, longitude, latitude) {
  const toRadians = Math.PI / 180;
  const away = (longitude - (zone.number * 6 - 183)) * toRadians;
  const sine = Math.sin(latitude * toRadians);
  const t = Math.sinh(Math.atanh(sine) - ECCENTRICITY * Math.atanh(ECCENTRICITY * sine));
  const xi = Math.atan2(t, Math.cos(away));
  const eta = Math.atanh(Math.sin(away) / Math.sqrt(1 + t * t));
  let east = eta;
  let north = xi;
  ALPHA.forEach((coefficient, index) => {
    const order = 2 * (index + 1);
    east += coefficient * Math.cos(order * xi) * Math.sinh(order * eta);
    north += coefficient * Math.sin(order * xi) * Math.cosh(order * eta);
  });
  return [FALSE_EASTING + SCALE * RADIUS * east, (zone.south ? FALSE_NORTHING_SOUTH : 0) + SCALE * RADIUS * north];
}
