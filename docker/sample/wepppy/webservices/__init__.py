"""Services that answer from the shared geodata, and the raster helpers they are made of."""
