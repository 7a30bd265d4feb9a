"""Services that answer from the shared geodata, and the raster helpers they are made of."""

import os

# GDAL's cache of blocks takes a twentieth of the machine's memory, more than a container may have of it.
os.environ.setdefault("GDAL_CACHEMAX", "64")
