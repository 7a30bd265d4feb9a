// What the pages use of the packages: htmx is a global of its own, the rest is read from here.
window.weppVendor = { mean: d3.mean, extent: d3.extent, htmx: window.htmx };
