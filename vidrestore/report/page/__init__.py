"""The proof report as one HTML page: template, styles and script are in it, and it never asks the network for anything."""

from vidrestore.report.page.render import LARGEST_PAGE, render, write_page

__all__ = ["LARGEST_PAGE", "render", "write_page"]
