"""The virtual rasters (files named `.vrt`) by which services find those of the sample geodata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import rasterio

_TYPE_NAMES = {"uint8": "Byte", "int32": "Int32", "float32": "Float32"}


def write_vrt(sources: Sequence[Path]) -> Path:
    """Write `.vrt` beside the source rasters, one band per source in their order, and return its path.

    All sources lie in one folder and share one grid. The format: https://gdal.org/drivers/raster/vrt.html
    """
    with rasterio.open(sources[0]) as first:
        width, height, transform, crs = first.width, first.height, first.transform, first.crs
        kind, nodata = first.dtypes[0], first.nodata
        try:
            colours = first.colormap(1)
        except ValueError:
            colours = {}
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    ElementTree.SubElement(root, "SRS").text = crs.to_wkt()
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(
        repr(value) for value in transform.to_gdal()
    )
    extent = {"xOff": "0", "yOff": "0", "xSize": str(width), "ySize": str(height)}
    for number, source in enumerate(sources, start=1):
        band = ElementTree.SubElement(root, "VRTRasterBand", dataType=_TYPE_NAMES[kind], band=str(number))
        ElementTree.SubElement(band, "NoDataValue").text = repr(nodata)
        if colours:
            ElementTree.SubElement(band, "ColorInterp").text = "Palette"
            table = ElementTree.SubElement(band, "ColorTable")
            for code in range(max(colours) + 1):
                channels = zip(("c1", "c2", "c3", "c4"), colours.get(code, (0, 0, 0, 255)), strict=True)
                ElementTree.SubElement(table, "Entry", {name: str(value) for name, value in channels})
        part = ElementTree.SubElement(band, "ComplexSource")
        ElementTree.SubElement(part, "SourceFilename", relativeToVRT="1").text = source.name
        ElementTree.SubElement(part, "SourceBand").text = "1"
        ElementTree.SubElement(part, "SrcRect", extent)
        ElementTree.SubElement(part, "DstRect", extent)
        ElementTree.SubElement(part, "NODATA").text = repr(nodata)
    path = sources[0].parent / ".vrt"
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8")
    return path
