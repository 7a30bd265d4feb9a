// The map of a run: relief below, one layer of results, channels, watershed and outlet over it.

const HILLSHADE = "/webservices/wmesque2/retrieve/ned1/2016";
const CELL = 30; // m
const MOST_CELLS = 2000; // per side of the relief
const HERE = "EPSG:3857"; // web Mercator, which Leaflet draws in
const PICTURES = "tilePane"; // below the pane that lines and areas are drawn in
const { L } = window; // vendor/leaflet: a classic script that ran before this module

/**
 * Show the map of `extent` (left, bottom, right, top in degrees) in `element`; `picked({latitude, longitude})` is called
 * for every click.
 */
export function showMap(element, note, coordinates, extent, picked) {
  const [left, bottom, right, top] = extent;
  const bounds = L.latLngBounds([bottom, left], [top, right]);
  const map = L.map(element, { attributionControl: false, zoomSnap: 0.25, scrollWheelZoom: false, maxZoom: 17 });
  map.fitBounds(bounds);
  map.setMaxBounds(bounds.pad(0.5)).setMinZoom(map.getZoom() - 1);
  L.control.scale({ imperial: false }).addTo(map);
  // A wheel over the page scrolls the page; over a map in use it zooms.
  map.on("focus", () => map.scrollWheelZoom.enable()).on("blur", () => map.scrollWheelZoom.disable());
  const options = { alt: "Shaded relief of the run's landscape", pane: PICTURES };
  const relief = L.imageOverlay(hillshade(bounds), bounds, options).addTo(map);
  relief.on("error", () => (note.textContent = "the map service is not available"));
  map.on("mousemove", ({ latlng }) => (coordinates.textContent = position(latlng)));
  map.on("mouseout", () => (coordinates.textContent = ""));
  map.on("click", ({ latlng }) => picked({ latitude: latlng.lat.toFixed(6), longitude: latlng.lng.toFixed(6) }));

  const layers = {};
  /** Put a layer (null: none) in the place of the one of that name. */
  function put(name, layer) {
    layers[name]?.remove();
    layers[name] = layer?.addTo(map);
  }

  return {
    mark: (latitude, longitude) =>
      put("mark", L.circleMarker([latitude, longitude], { radius: 7, className: "picked", interactive: false })),
    addChannels: (shapes) =>
      put("channels", L.geoJSON(shapes, {
        interactive: false,
        style: ({ properties }) => ({ className: "channel", weight: 0.6 + 0.7 * (properties.strahler_order ?? 1) }),
      })),
    addWatershed: (shapes) =>
      put("watershed", L.geoJSON(shapes, {
        style: ({ properties }) => (properties.part === "boundary" ? { weight: 2.5, fill: false, className: "boundary" } : {}),
        pointToLayer: (_, at) => L.circleMarker(at, { radius: 6, className: "outlet" }).bindTooltip("Outlet"),
      })),
    /** Return the layer of a picture `{url, bounds, title}`. */
    picture: ({ url, bounds: box, title }) => L.imageOverlay(url, box, { alt: title, opacity: 0.75, className: "codes", pane: PICTURES }),
    /** Return the layer of subcatchments, each filled with `colour(properties)` and described by `text(properties)`. */
    choropleth: (shapes, colour, text) =>
      L.geoJSON(shapes, {
        style: ({ properties }) => ({ color: "#333", weight: 0.5, fillColor: colour(properties), fillOpacity: 0.7 }),
        onEachFeature: ({ properties }, layer) => layer.bindTooltip(text(properties), { sticky: true }),
      }),
    /** Show one layer of results; null for the relief alone. */
    show(layer) {
      put("results", layer);
      if (layer instanceof L.GeoJSON) layer.bringToBack();
    },
    /** Frame one subcatchment (a GeoJSON feature) and bring it into view. */
    highlight(feature) {
      put("chosen", L.geoJSON(feature, { interactive: false, style: { className: "chosen", weight: 4, fill: false } }));
      map.fitBounds(layers.chosen.getBounds().pad(1.5), { maxZoom: 14 });
    },
  };
}

function position({ lat, lng }) {
  return `${Math.abs(lat).toFixed(5)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lng).toFixed(5)}° ${lng < 0 ? "W" : "E"}`;
}

function hillshade(bounds) {
  const from = L.CRS.EPSG3857.project(bounds.getSouthWest());
  const to = L.CRS.EPSG3857.project(bounds.getNorthEast());
  // A metre of the projection is shorter than one of the ground, by the cosine of the latitude.
  const cell = CELL / Math.cos((bounds.getCenter().lat * Math.PI) / 180);
  const cellsize = Math.max(cell, (to.x - from.x) / MOST_CELLS, (to.y - from.y) / MOST_CELLS).toFixed(3);
  const bbox = [from.x, from.y, to.x, to.y].map((value) => value.toFixed(2)).join(",");
  return `${HILLSHADE}?${new URLSearchParams({ bbox, bbox_crs: HERE, cellsize, format: "PNG", gdaldem: "hillshade" })}`;
}
