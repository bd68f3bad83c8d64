"""Tools for those who test operators: an in-memory Dataset, a conformance kit, a scripted chat server."""
