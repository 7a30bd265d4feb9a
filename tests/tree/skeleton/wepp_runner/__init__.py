"""Runs the hillslope model; it lies beside the package `wepppy`, at the tree's root."""

from wepp_runner.wepp_runner import run_hillslope

__all__ = ["run_hillslope"]
