"""What people read: problems with carets, the funnel, a row's story."""
