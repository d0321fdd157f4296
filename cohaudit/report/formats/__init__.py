"""Further formats: Markdown, JUnit, SARIF, Parquet and annotations."""
