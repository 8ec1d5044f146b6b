"""The peer: store, search loop and command line. Local search is the peer without a transport."""
