"""Every encoding beside its decoding, so that target and reader cannot drift."""
