"""Further formats of an audit: Markdown, JUnit, SARIF, Parquet and annotations."""
