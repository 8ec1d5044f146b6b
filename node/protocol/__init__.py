"""What peers say to each other and whom they believe. Pure: no trio, no socket, no file."""
