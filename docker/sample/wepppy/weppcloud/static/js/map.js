// The map of a run: hillshade as a picture, channels and the picked place drawn over it in metres.

import { project, zoneOf } from "./utm.js";

const HILLSHADE = "/webservices/wmesque2/retrieve/ned1/2016";
const CELL = 30; // m
const SVG = "http://www.w3.org/2000/svg";

/**
 * Show the map of `extent` (left, bottom, right, top in degrees) in `element`; `picked({x, y, crs})` is called for
 * every click. Resolves to `{addRun(url), mark(longitude, latitude)}`.
 */
export async function showMap(element, note, extent, picked) {
  if (!extent) {
    note.textContent = "this run does not say where it is";
    return { addRun: async () => {}, mark: () => {} };
  }
  const frame = frameOf(extent);
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  layer.setAttribute("aria-hidden", "true");
  const channels = layer.appendChild(document.createElementNS(SVG, "g"));
  const places = layer.appendChild(document.createElementNS(SVG, "g"));
  const image = new Image(frame.width / CELL, frame.height / CELL);
  image.alt = "Shaded relief of the run's landscape";
  image.onerror = () => (note.textContent = "the map service is not available");
  image.src = hillshade(frame);
  element.replaceChildren(image, layer);

  const place = (x, y) => dot(places, "picked", x - frame.left, frame.top - y, frame.width / 110);
  element.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    const x = frame.left + ((event.clientX - box.left) / box.width) * frame.width;
    const y = frame.top - ((event.clientY - box.top) / box.height) * frame.height;
    place(x, y);
    picked({ x: x.toFixed(2), y: y.toFixed(2), crs: frame.zone.crs });
  });
  return {
    addRun: (url) => addChannels(url, frame, channels),
    mark: (longitude, latitude) => place(...project(frame.zone, longitude, latitude)),
  };
}

function frameOf([left, bottom, right, top]) {
  const zone = zoneOf((left + right) / 2, (bottom + top) / 2);
  const corners = [[left, bottom], [left, top], [right, bottom], [right, top]].map((at) => project(zone, ...at));
  const [eastings, northings] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const snap = (value, round) => round(value / CELL) * CELL;
  const frame = { zone, left: snap(Math.min(...eastings), Math.floor), top: snap(Math.max(...northings), Math.ceil) };
  frame.width = snap(Math.max(...eastings), Math.ceil) - frame.left;
  frame.height = frame.top - snap(Math.min(...northings), Math.floor);
  return frame;
}

function hillshade(frame) {
  const bbox = [frame.left, frame.top - frame.height, frame.left + frame.width, frame.top].join(",");
  const options = { bbox, bbox_crs: frame.zone.crs, cellsize: CELL, format: "PNG", gdaldem: "hillshade" };
  return `${HILLSHADE}?${new URLSearchParams(options)}`;
}

async function addChannels(url, frame, group) {
  let shapes;
  try {
    const response = await fetch(`${url}download/watershed/channels.geojson`);
    if (!response.ok) return;
    shapes = await response.json();
  } catch {
    return; // not computed yet, or the file service is away: the map is still a map
  }
  const lines = shapes.features.map((feature) => {
    const line = document.createElementNS(SVG, "polyline");
    const points = feature.geometry.coordinates.map(([longitude, latitude]) => {
      const [x, y] = project(frame.zone, longitude, latitude);
      return `${(x - frame.left).toFixed(1)},${(frame.top - y).toFixed(1)}`;
    });
    line.setAttribute("points", points.join(" "));
    line.setAttribute("class", "channel");
    line.setAttribute("stroke-width", 25 + 20 * (feature.properties.strahler_order ?? 1));
    return line;
  });
  group.replaceChildren(...lines);
}

function dot(group, kind, x, y, radius) {
  const circle = document.createElementNS(SVG, "circle");
  circle.setAttribute("class", kind);
  for (const [name, value] of Object.entries({ cx: x, cy: y, r: radius })) circle.setAttribute(name, value);
  group.replaceChildren(circle);
}
