"""Statistics of a table of predictions, and the report made from them."""
