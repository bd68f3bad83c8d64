"""Pattern packs: one YAML file each. `patterns.py` says what stands in them."""
