"""Services that answer from the shared geodata, and the raster helpers they are made of."""

import os
import warnings

# GDAL's cache of blocks takes a twentieth of the machine's memory, more than a container may have of it.
os.environ.setdefault("GDAL_CACHEMAX", "64")
# Pictures lie nowhere. Said once for all: the context manager for warnings is not made for threads.
warnings.filterwarnings("ignore", message="Dataset has no geotransform")
