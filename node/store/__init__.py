"""The store of a node: one SQLite file, one writer (`writer`), many readers (`records`)."""
