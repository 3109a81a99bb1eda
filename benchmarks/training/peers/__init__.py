"""How other libraries do the same work, each as its own documentation shows it."""
