"""The figures of the report, as SVG inside the page."""
