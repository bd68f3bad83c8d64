"""Cleaning: filters, duplicates, contamination, licences, languages."""
