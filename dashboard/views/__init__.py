"""The pages: for each a list of routes with thin handlers."""
