"""The proxies, one file each; `archcast.proxies.proxy` finds them by name."""
