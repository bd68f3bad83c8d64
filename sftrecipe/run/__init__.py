"""Running a plan: stages over shards, whole-data steps, writes; the laws of the verbs asserted, every row accounted
for."""
