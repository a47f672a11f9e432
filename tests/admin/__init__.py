"""The admin listener and its API, over real connections and a real store."""
