// Questions to the site's services.

/** Return the JSON that `address` answers. Throws an Error in the service's own words for anything but success. */
export async function askJson(address, { headers, ...options } = {}) {
  const response = await fetch(address, { ...options, headers: { Accept: "application/json", ...headers } });
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) throw new Error(body?.error?.message ?? body?.Error ?? "the service is not available");
  return body;
}
