//! How well scores separate two sets, and how well probabilities keep what they promise; no I/O, no models.
