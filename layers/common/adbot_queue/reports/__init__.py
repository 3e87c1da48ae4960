"""Reports: figures of days as a table, as CSV and as a page with a chart, in a private bucket."""
