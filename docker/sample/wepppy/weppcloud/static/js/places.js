// What is at a place: elevation from the run's own raster, climate from the monthly catalogue.

import { askJson } from "./ask.js";

const CLIMATE = "/webservices/metquery/monthly";
const SERIES = { ppt: "daymet/monthly/ppt", tmin: "daymet/monthly/tmin", tmax: "daymet/monthly/tmax" };

/** Return `{elevation (m, or null), latitude, longitude, problem}` of a place `{latitude, longitude}` of the run. */
export async function elevationAt(runUrl, place) {
  const query = new URLSearchParams({ lng: place.longitude, lat: place.latitude });
  const answer = await askJson(`${runUrl}elevationquery?${query}`);
  if (typeof answer.Latitude !== "number" || typeof answer.Longitude !== "number") {
    throw new Error(answer.Error ?? "that is not a place");
  }
  return {
    elevation: answer.Elevation ?? null,
    latitude: answer.Latitude,
    longitude: answer.Longitude,
    problem: answer.Error ?? "no elevation",
  };
}

/** Return `{ppt, tmin, tmax}`, twelve monthly values each (mm, degrees Celsius), at a place given in degrees. */
export async function monthlyClimate(latitude, longitude) {
  const wanted = Object.entries(SERIES).map(async ([name, dataset]) => {
    const query = new URLSearchParams({ lat: latitude, lng: longitude, dataset, method: "bilinear" });
    const answer = await askJson(`${CLIMATE}?${query}`);
    if (answer.Error || !Array.isArray(answer.MonthlyValues)) throw new Error(answer.Error ?? "no values");
    if (answer.MonthlyValues.some((value) => typeof value !== "number")) throw new Error("no data there");
    return [name, answer.MonthlyValues];
  });
  return Object.fromEntries(await Promise.all(wanted));
}
