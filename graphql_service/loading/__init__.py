"""Loading: what turns a source's image sets into ours, one module a source."""
