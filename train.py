from archcast.cli import main
