"""Looking at a store from another process. Empty until there is a page to look at."""
