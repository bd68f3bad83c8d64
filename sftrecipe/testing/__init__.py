"""Tools for those who test operators: an in-memory Dataset, a recipe runner, a conformance kit, a scripted chat server."""
