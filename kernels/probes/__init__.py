"""The arithmetic of probes in float64: what a network does when it is pushed, noisy, damaged or deep."""
