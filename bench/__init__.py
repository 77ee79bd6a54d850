"""How fast edgeinfer is, beside what else runs such models: one process per contender, ``python -m bench --help``."""
