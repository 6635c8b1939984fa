"""Our search in other frameworks. Each module needs its framework; `pip install 'archcast[adapters]'` brings them."""
