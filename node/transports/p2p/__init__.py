"""The mesh over libp2p. The only folder that imports it; what it does wrong is contained here."""
